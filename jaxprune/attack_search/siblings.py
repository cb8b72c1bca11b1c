"""Members of one seed and arm at several sparsities: who can learn from whose attackers."""

from itertools import permutations

import numpy as np
from jaxtyping import Int

from jaxprune.errors import SpecError
from jaxprune.population import Members


def donors(members: Members) -> Int[np.ndarray, " member"]:
    """From whose adversary each member's warm start begins.

    Its dense twin's; the dense one's from its least pruned sibling's.

    Raises SpecError if a member has no such sibling.
    """
    donor = members.dense_twin()
    if not members.has_dense_twin().all():
        raise SpecError(
            "warm_starts: a member has no dense twin to start from; its run needs sparsity 0 as well"
        )
    for dense in np.flatnonzero(members.sparsity == 0):
        others = np.flatnonzero((donor == dense) & (members.sparsity > 0))
        if not others.size:
            raise SpecError(
                "warm_starts: a dense member has no pruned sibling, and neither has anything to start from; "
                "attack a run with several sparsities"
            )
        donor[dense] = others[members.sparsity[others].argmin()]
    return donor


def pairs(members: Members) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """All (from, to) of two members of one seed and arm. Raises SpecError if there are none."""
    family = list(zip(members.arm.tolist(), members.seed.tolist(), strict=True))
    found = [(i, j) for i, j in permutations(range(members.size), 2) if family[i] == family[j]]
    if not found:
        raise SpecError("transfer: no two members share a seed; attack a run with several sparsities")
    first, second = np.array(found).T
    return first, second
