"""An exact simultaneous confidence band for the distribution of returns, tight where they are almost sure.

n independent episodes of which j return at least t show that `P[return >= t] >= limits[j]`, for all t at
once. Each limit is the one of Clopper and Pearson at one and the same *local level*, the
`Beta(j, n - j + 1)` quantile, and the local level is the largest at which the probability that any limit is
too high is the error allowed: a one-sided band of Berk-Jones type. A band of constant width (Dvoretzky,
Kiefer, Wolfowitz) is as wide at `P = 1` as at one half; this one is narrow there, where an attack costs most.

It holds for every distribution. Where it is continuous, the probabilities `P[return >= R_i]` of the episodes
are independent and uniform, the j-th smallest belongs to the j-th largest return, and the band is wrong
exactly where one of them is below its limit. Where it has atoms, let uniform lots drawn beside the episodes
order what is equal: the probabilities of the ordered pairs are uniform again, and they are no larger than
`P[return >= t]` for any t that the episode reaches. So the band is then wrong at most as often.

References: Berk and Jones, Goodness-of-fit test statistics that dominate the Kolmogorov statistics, 1979.
Aldor-Noiman et al., The power to see: a new graphical test of normality, The American Statistician 2013
(equal local levels). Moscovich and Nadler, Fast calculation of boundary crossing probabilities for Poisson
processes, Statistics and Probability Letters 2017.
"""

from functools import lru_cache
from math import exp, log

import numpy as np
from jaxtyping import Float, Int
from scipy.special import betaincinv, gammaln

from jaxprune.errors import SpecError

TOLERANCE = 1e-6
"""Of the local level, relative; it is rounded down by as much."""


@lru_cache(maxsize=64)
def survival_limits(episodes: int, confidence: float) -> Float[np.ndarray, " reached"]:
    """Lower limits on `P[return >= t]`, by how many of the episodes (0 .. n) return at least t, for all t.

    They hold together with the confidence, for every distribution. Read-only: results are kept.

    Raises:
        SpecError: no episode, or a confidence outside (0, 1).
    """
    limits = clopper_pearson(np.arange(episodes + 1), episodes, local_level(episodes, confidence))
    limits.flags.writeable = False
    return limits


@lru_cache(maxsize=256)
def local_level(episodes: int, confidence: float) -> float:
    """The level of each limit of the band, at which all hold together with the confidence.

    The time is quadratic in the number of episodes: a few seconds for ten thousand. Results are kept.

    Raises:
        SpecError: no episode, or a confidence outside (0, 1).
    """
    from scipy.optimize import root_scalar  # here, because it takes as long as a quarter of the library

    if episodes < 1:
        raise SpecError(f"episodes: got {episodes}, needs at least 1")
    if not 0 < confidence < 1:
        raise SpecError(f"confidence: got {confidence}, needs a probability between 0 and 1, e.g. 0.95")
    error, reached = 1 - confidence, np.arange(1, episodes + 1)

    def excess(log_level: float) -> float:
        limits = clopper_pearson(reached, episodes, exp(log_level))
        return log(crossing_probability(limits) / error)

    # One limit alone is wrong with the level's probability, and all of them with at most their sum.
    lowest, highest = log(error / episodes) - TOLERANCE, log(error) + TOLERANCE
    found = root_scalar(excess, bracket=(lowest, highest), method="brentq", xtol=TOLERANCE / 2)
    return exp(found.root - TOLERANCE)


def clopper_pearson(
    reached: Int[np.ndarray, "*shape"], episodes: int, error: float
) -> Float[np.ndarray, "*shape"]:
    """Lower limit on a probability, by how many episodes showed the event, that is wrong with the error."""
    with np.errstate(invalid="ignore"):  # at 0, where the limit is 0
        return np.where(reached > 0, betaincinv(reached, episodes - reached + 1, error), 0.0)


def crossing_probability(limits: Float[np.ndarray, " episode"]) -> float:
    """`P[U_(j) < limits[j] for some j]`, `U_(1) <= .. <= U_(n)` being n uniform numbers in order, exact.

    Let N(t) be how many of them are below t. The last limit j that is crossed has `N(limits[j]) = j`: the
    next one, not crossed, allows no more. From there on, the n - j numbers above are uniform on what is left.
    So with Q_j the probability that no later limit is crossed, given `N(limits[j]) = j`,

        1 - Q_j = sum_{i > j} P[N(limits[i]) = i | N(limits[j]) = j] Q_i,

    where the probabilities are binomial, `limits[0] = 0`, and the answer is `1 - Q_0`. All terms are
    positive, and an error in one Q reaches the earlier ones at most twofold, so that float64 is enough.

    Args:
        limits: in ascending order, in [0, 1).
    """
    count = limits.size
    at = np.append(0.0, limits)
    log_factorial, log_above = gammaln(np.arange(count + 1) + 1.0), np.log1p(-at)
    steps = np.arange(count + 1)
    stays = np.ones(count + 1)
    crossed = 0.0
    for j in range(count - 1, -1, -1):
        further, left = steps[1 : count - j + 1], count - j
        with np.errstate(divide="ignore"):  # equal limits, of which the later one cannot be crossed alone
            log_between = np.log(at[j + 1 :] - at[j])
        chances = np.exp(
            log_factorial[left]
            - log_factorial[further]
            - log_factorial[left - further]
            + further * log_between
            + (left - further) * log_above[j + 1 :]
            - left * log_above[j]
        )
        crossed = float(chances @ stays[j + 1 :])
        stays[j] = 1 - crossed
    return crossed
