"""Looks at attackers: who was measured on which episodes after how much training, and what they left."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxprune.attacks import Rule
from jaxprune.evaluation import Tally
from jaxprune.training.halving import Found

SELECTION = "selection"
"""The episodes by which one of the attackers is chosen."""


class Look(NamedTuple):
    """Attackers of one attack as they were at some time, each on its victim.

    attacker: their numbers, in the order tried; one can be there several times, as it was at several times.
    tally: [member, attacker, episode]. steps: environment steps that PPO had trained each. episodes: which
    they were. started_from: the member for whose chosen adversary each began as, [member]; None for a
    beginning from nothing.
    """

    attacker: Int[np.ndarray, "member attacker"]
    tally: Tally
    steps: Int[np.ndarray, " attacker"]
    episodes: str = SELECTION
    started_from: Int[np.ndarray, " member"] | None = None

    @property
    def returns(self) -> Float[np.ndarray, "member attacker"]:
        """The mean return that each leaves."""
        return np.asarray(self.tally.total).mean(-1, dtype=np.float64)

    @property
    def furthest(self) -> Int[np.ndarray, " place"]:
        """The places of those that were trained as long as any."""
        return np.flatnonzero(self.steps == self.steps.max())


class Candidates(NamedTuple):
    """The attackers of one attack among which selection chooses.

    rules: leaves [member, attacker]. attacker: their numbers. steps: of training of each. before: the looks
    at which others were given up. learned: what PPO learned, where it did.
    """

    rules: Rule
    attacker: Int[np.ndarray, "member attacker"]
    steps: Int[np.ndarray, " attacker"]
    before: tuple[Look, ...] = ()
    learned: Found | None = None
