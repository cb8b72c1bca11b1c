"""What a number of seeds can show, before they are trained."""

from math import ceil
from typing import NamedTuple

import numpy as np

from jaxprune.analysis.signflip import FLIPS, adjusted_p, needed_pairs

_FLIPS = 2**9  # enumerated up to ten pairs, drawn beyond
_HITS = 20  # flips that may reach what was observed: fewer cost power that the verdict's own flips do not
_EXPERIMENTS = 500
_LARGEST = 64.0  # in standard deviations: what needs more is not found


class Spread(NamedTuple):
    """How much the differences between members and their dense twins vary from seed to seed.

    attacked, clean: standard deviations over seeds of the paired difference of returns, root mean square over
    sparsities, in units of return; None where unknown. seeds, source: what they were estimated from.
    """

    attacked: float | None
    clean: float | None
    seeds: int
    source: str


SPREADS = {
    # Root mean squares of attacked_sd and clean_sd over three sparsities.
    "hopper": Spread(694.0, 765.0, 8, "eight seeds, 600,000 steps, the stronger of random and MAD"),
}
"""Between-seed spreads by task, from committed results."""


def detectable_difference(
    seeds: int,
    sparsities: int,
    budgets: int = 1,
    alpha: float = 0.05,
    power: float = 0.8,
    experiments: int = _EXPERIMENTS,
) -> float | None:
    """The smallest attacked difference that `seeds` pairs show with probability `power`, in units of its sd.

    By simulation of the test in `sweet_spots`: `sparsities * (budgets + 1)` hypotheses, adjusted for
    family-wise error `alpha`. Paired differences are normal with standard deviation 1; those of one budget
    (and the clean ones) share the dense twin, so they are correlated by 1/2, and budgets are independent of
    each other, which is the hardest case. The difference is at one sparsity and budget, nothing is true
    elsewhere. Seeded; to within about 3 %.

    Args:
        seeds: how many.
        sparsities: how many above 0.
        budgets: of the attacks.
        alpha: the family-wise error.
        power: the probability of a verdict.
        experiments: how many are simulated.

    Returns:
        None where the seeds are too few for any verdict with that probability.
    """
    if seeds < needed_pairs(alpha) or sparsities < 1:
        return None
    noise = _differences(seeds, sparsities, budgets, experiments)
    flips = min(FLIPS, max(_FLIPS, ceil(_HITS / alpha)))

    def shown(effect: float) -> float:
        shifted = noise.copy()
        shifted[..., 0] += effect
        return float((adjusted_p(shifted, flips)[..., 0] <= alpha).mean())

    low, high = 0.0, 1.0
    while shown(high) < power:
        low, high = high, 2 * high
        if high > _LARGEST:
            return None
    while high - low > 0.02 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) >= power else (middle, high)
    return high


def _differences(seeds: int, sparsities: int, budgets: int, experiments: int) -> np.ndarray:
    """`[experiment, seed, hypothesis]`: every member minus the dense one of its seed, with sd 1."""
    returns = np.random.default_rng(0).normal(size=(experiments, seeds, budgets + 1, sparsities + 1))
    differences = (returns[..., 1:] - returns[..., :1]) / np.sqrt(2)
    return differences.reshape(experiments, seeds, -1)
