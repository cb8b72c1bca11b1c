"""Two halves of a member's clean episodes: one chooses what the other certifies.

What is chosen are the tangents that certify the mean, budgets among them, and, of several scales of the
standard deviation, one for each member and radius. Every scale is a policy of its own with episodes of its
own. All that is chosen is a function of the choosing halves of all scales; the certifying half of the scale
that was chosen is independent of them, and an ordinary sample of the episodes of that policy. So, whatever
was chosen, its limit is too high no more often than one that was asked for from the beginning: the scales
that were tried are no further chances to be wrong, and only limits that are given share the error. Had the
certifying halves of the other scales been looked at, they would be.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxprune.bounds import Episodes, Tangents, tangent_mean, tangents
from jaxprune.certification.return_spec import ReturnSpec
from jaxprune.certification.spent import Spent, block_ends
from jaxprune.evaluation import STEPS_AT_ONCE

SHARE = 0.25
"""Of the clean mean of the policy with its own standard deviation: what a radius must leave to count."""


class Halves(NamedTuple):
    """Episodes in one or several blocks, and the lowest sum of rewards of each block."""

    choosing: Episodes
    certifying: Episodes
    lowest: Float[np.ndarray, " block"]

    @property
    def clean(self) -> float:
        """The mean of `sum_k max(G_k, lowest_k)`, of the half that is certified."""
        return self.mean(self.certifying.returns)

    @property
    def asked(self) -> float:
        """`SHARE` of the way from the lowest return to the mean of the half that chooses, and some way."""
        least = float(self.lowest.sum())
        return max(np.nextafter(least, np.inf), least + SHARE * (self.mean(self.choosing.returns) - least))

    def mean(self, returns: Float[np.ndarray, "episode block"]) -> float:
        """The mean of that sum of such episodes, by what each block returned."""
        return float(np.maximum(returns, self.lowest).sum(axis=1).mean())


class Prepared(NamedTuple):
    """Halves with the tangents that suit the choosing one."""

    halves: Halves
    tangents: Tangents

    def promised(self, confidence: float) -> float:
        """What they certify of the episodes that they were chosen on: too much, to choose by only."""
        return tangent_mean(self.tangents, self.halves.choosing, confidence=confidence)

    def limit(self, confidence: float) -> float:
        """What they certify of the others."""
        return tangent_mean(self.tangents, self.halves.certifying, confidence=confidence)


class Candidate(NamedTuple):
    """One member at one radius and scale: its whole episodes, and the same in blocks."""

    scale: float
    whole: Prepared
    parts: Prepared

    def promised(self, confidence: float) -> float:
        """The larger of the two limits on the mean, of the half that chooses."""
        return max(self.whole.promised(confidence), self.parts.promised(confidence))


def halves(
    spec: ReturnSpec, made: Spent, place: tuple[int, int], blocks: int, lowest: float, horizon: int
) -> Halves:
    """The episodes of a member under a radius, `place`; each block has its share of the lowest return."""
    episodes = made.of(*place, blocks, horizon)
    ends = np.minimum(block_ends(blocks, horizon) * STEPS_AT_ONCE, horizon)
    return Halves(
        Episodes(*(part[: -spec.certifying] for part in episodes)),
        Episodes(*(part[-spec.certifying :] for part in episodes)),
        lowest * np.diff(ends, prepend=0) / horizon,
    )


def best_of(
    spec: ReturnSpec,
    made: Mapping[float, Spent],
    place: tuple[int, int],
    lowest: float,
    horizon: int,
    confidence: float,
) -> Candidate:
    """Of the scales, the one of which the choosing half promises most."""

    def candidate(scale: float) -> Candidate:
        return Candidate(scale, *(prepared(scale, blocks) for blocks in (1, spec.return_blocks)))

    def prepared(scale: float, blocks: int) -> Prepared:
        found = halves(spec, made[scale], place, blocks, lowest, horizon)
        return Prepared(found, tangents(found.choosing, lowest=found.lowest, confidence=confidence))

    return max(map(candidate, spec.scales), key=lambda one: one.promised(confidence))
