"""Randomised smoothing: certificates on return and on actions that are not vacuous.

The policy acts on `s + noise`, `noise ~ N(0, sigma^2 I)` drawn anew at every step, in the budget's space.
These functions turn what such runs returned into lower confidence limits; they run on the host, in NumPy.

References: Kumar, Levine and Feizi, Policy Smoothing for Provably Robust Reinforcement Learning, ICLR 2022
(returns). Wu et al., CROP: Certifying Robust Policies for Reinforcement Learning through Functional
Smoothing, ICLR 2022 (actions).
"""

from math import ceil, floor, inf, log, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import betaincinv, ndtr, ndtri

from jaxprune.errors import SpecError


class CertifiedAction(NamedTuple):
    """The action a smoothed policy prefers, and the l2 radius within which no perturbation changes it.

    radius: a lower bound, 0 where nothing is certified. samples_needed: how many samples certify a positive
    radius for sure if they show the gap that was seen; infinite for a tie.
    """

    action: int
    radius: float
    samples_needed: float


def certified_return_probability(
    returns: Float[np.ndarray, " episode"],
    threshold: float,
    *,
    budget: float,
    sigma: float,
    confidence: float = 0.95,
) -> float:
    """Lower bound on `P[return >= threshold]` under attack.

    The adversary may be adaptive, with a total budget `sum_t ||delta_t||_2^2 <= budget^2`. The bound is
    `Phi(Phi^{-1}(p) - budget / sigma)`, with p the Clopper-Pearson lower limit of the share of independent
    clean smoothed episodes that reach the threshold. It holds with the given confidence over the episodes.

    Raises:
        SpecError: no episode, a negative budget, sigma <= 0, or a confidence outside (0, 1).
    """
    _check(returns.size, budget, sigma, confidence)
    reached = int(np.sum(returns >= threshold))
    if reached == 0:
        return 0.0
    share = betaincinv(reached, returns.size - reached + 1, 1 - confidence)
    return float(attacked_probability(share, budget / sigma))


def certified_mean_return(
    returns: Float[np.ndarray, " episode"],
    *,
    lowest: float,
    budget: float,
    sigma: float,
    confidence: float = 0.95,
) -> float:
    """Lower bound on `E[max(return, lowest)]` under the same adversaries.

    That is the mean return itself where no episode can return less than `lowest`; otherwise it is the mean of
    returns that are cut from below at `lowest`, which is larger than the mean return.

    `lowest + int_lowest^inf Phi(Phi^{-1}(P[return >= t] - e) - budget / sigma) dt` over the empirical
    distribution, with `e = sqrt(log(1 / (1 - confidence)) / 2n)`, the one-sided band of Dvoretzky, Kiefer and
    Wolfowitz with Massart's constant, and with returns below `lowest` counted as `lowest`.

    Of m policies the one with the largest limit is one of several chances to be wrong: for a statement about
    all of them at once, and so about the best, ask for the confidence `1 - (1 - confidence) / m` of each.

    Raises:
        SpecError: as `certified_return_probability`; a confidence below one half; too few episodes for a
            band, naming how many are needed.
    """
    if confidence < 0.5:
        raise SpecError(f"confidence: got {confidence}, the one-sided band needs at least 0.5")
    _check(returns.size, budget, sigma, confidence)
    needed = ceil(log(1 / (1 - confidence)) / 2)
    if returns.size <= needed:
        raise SpecError(
            f"returns: got {returns.size} episodes, a band of this confidence needs over {needed}"
        )
    band = sqrt(log(1 / (1 - confidence)) / (2 * returns.size))
    at_least = 1 - np.arange(returns.size) / returns.size
    limits = np.maximum(at_least - band, 0)
    return attacked_mean(np.sort(returns), limits, lowest=lowest, shift=budget / sigma)


def episodes_needed(probability: float, *, budget: float, sigma: float, confidence: float = 0.95) -> int:
    """Fewest episodes, all reaching the threshold, with which `probability` can be certified.

    n successes of n have the Clopper-Pearson limit `(1 - confidence)^(1 / n)`.

    Raises:
        SpecError: a probability outside (0, 1), or as `certified_return_probability`.
    """
    _check(1, budget, sigma, confidence)
    if not 0 < probability < 1:
        raise SpecError(f"probability: got {probability}, needs a number between 0 and 1")
    clean = ndtr(ndtri(probability) + budget / sigma)
    if clean == 1:
        raise SpecError(f"budget: {budget} is too large for sigma {sigma}: no number of episodes suffices")
    return ceil(log(1 - confidence) / log(clean))


def largest_budget(probability: float, episodes: int, *, sigma: float, confidence: float = 0.95) -> float:
    """The largest budget at which so many episodes, all reaching the threshold, certify `probability`.

    What `episodes_needed` is the inverse of. A larger budget leaves less, whatever the episodes show.

    Raises:
        SpecError: a probability outside (0, 1), or too few episodes for it without an attack, naming how many
            are needed; otherwise as `certified_return_probability`.
    """
    needed = episodes_needed(probability, budget=0.0, sigma=sigma, confidence=confidence)
    if episodes < needed:
        raise SpecError(
            f"episodes: got {episodes}, a probability of {probability:g} needs at least {needed} of them"
        )
    return max(0.0, sigma * float(ndtri((1 - confidence) ** (1 / episodes)) - ndtri(probability)))


def certified_action(
    values: Float[np.ndarray, "sample act"],
    *,
    low: float,
    high: float,
    sigma: float,
    confidence: float = 0.95,
) -> CertifiedAction:
    """The action with the largest mean of `values`, action values or votes at one state under the noise.

    The smoothed value of an action, scaled to [0, 1], moves by at most r / sigma in `Phi^{-1}` within an l2
    distance r. So the best action stays the best within
    `sigma / 2 (Phi^{-1}(lower limit of the best) - Phi^{-1}(upper limit of the second))`, with Hoeffding
    limits for all actions at once.

    Args:
        values: independent samples, each within [low, high]; votes are one-hot rows with low 0 and high 1.
        low: least value an action can have.
        high: largest value an action can have.
        sigma: standard deviation of the noise.
        confidence: probability, over the samples, that the radius holds.

    Raises:
        SpecError: no sample, sigma <= 0, a confidence outside (0, 1), or values outside [low, high].
    """
    count, actions = values.shape
    _check(count, 0.0, sigma, confidence)
    if not (low < high and values.min() >= low and values.max() <= high):
        raise SpecError(
            f"values: got a range of [{values.min()}, {values.max()}], must lie within low < high, here "
            f"[{low}, {high}]"
        )
    means = (values.mean(axis=0) - low) / (high - low)
    limit = sqrt(log(2 * actions / (1 - confidence)) / (2 * count))
    return _preferred(
        means, np.maximum(means - limit, 0), np.minimum(means + limit, 1), sigma=sigma, confidence=confidence
    )


def certified_vote(
    counts: Int[np.ndarray, " act"], *, sigma: float, confidence: float = 0.95
) -> CertifiedAction:
    """The action that a deterministic policy takes most often at one state under the noise.

    `certified_action` for votes, whose counts are binomial: Clopper-Pearson limits, for all actions at once,
    take the place of Hoeffding's, and what is sure for the best action is lost for the second.

    Args:
        counts: how often each action was taken, in independent draws of the noise.
        sigma: standard deviation of the noise.
        confidence: probability, over the draws, that the radius holds.

    Raises:
        SpecError: fewer than two actions or negative counts; sigma <= 0; a confidence outside (0, 1); too few
            draws for any radius, naming how many are needed.
    """
    if counts.size < 2 or np.any(counts < 0):
        raise SpecError(f"counts: got {counts.tolist()}, needs a number >= 0 for each of two or more actions")
    total, needed = int(counts.sum()), votes_needed(counts.size, sigma=sigma, confidence=confidence)
    if total < needed:
        raise SpecError(f"counts: got {total} votes, a radius of this confidence needs at least {needed}")
    error = (1 - confidence) / (2 * counts.size)
    with np.errstate(invalid="ignore"):  # at 0 and at all votes, where the limits are 0 and 1
        lower = np.where(counts > 0, betaincinv(counts, total - counts + 1, error), 0)
        upper = np.where(counts < total, betaincinv(counts + 1, total - counts, 1 - error), 1)
    upper = np.minimum(upper, 1 - lower.max())
    return _preferred(counts / total, lower, upper, sigma=sigma, confidence=confidence)


def votes_needed(actions: int, *, sigma: float, confidence: float = 0.95) -> int:
    """Fewest votes, all for one of so many actions, that certify a positive radius.

    n votes of n have the Clopper-Pearson limit `((1 - confidence) / (2 actions))^(1 / n)`, and it must be
    above one half.

    Raises:
        SpecError: sigma <= 0, or a confidence outside (0, 1).
    """
    _check(1, 0.0, sigma, confidence)
    return floor(log(2 * actions / (1 - confidence)) / log(2)) + 1


def _preferred(
    means: Float[np.ndarray, " act"],
    lower: Float[np.ndarray, " act"],
    upper: Float[np.ndarray, " act"],
    *,
    sigma: float,
    confidence: float,
) -> CertifiedAction:
    """The action of the largest mean, within limits that hold for all actions at once."""
    best = int(np.argmax(means))
    others = np.delete(np.arange(means.size), best)
    low, high = lower[best], upper[others].max()
    radius = sigma / 2 * (ndtri(low) - ndtri(high)) if low > high else 0.0
    gap = means[best] - means[others].max()
    needed = ceil(2 * log(2 * means.size / (1 - confidence)) / gap**2) if gap > 0 else inf
    return CertifiedAction(best, float(radius), float(needed))


def attacked_mean(
    returns: Float[np.ndarray, " value"],
    at_least: Float[np.ndarray, " value"],
    *,
    lowest: float,
    shift: float,
) -> float:
    """`E[max(return, lowest)]` under an attack, at worst: an integral over thresholds.

    `lowest + int_lowest^inf Phi(Phi^{-1}(P[return >= t]) - shift) dt`.

    Args:
        returns: in ascending order.
        at_least: `P[return >= t]` of each of them, or a lower limit; it holds down to the one before.
        lowest: smaller returns count as this.
        shift: as in `attacked_probability`.
    """
    steps = np.diff(np.maximum(returns, lowest), prepend=lowest)
    return float(lowest + np.sum(steps * attacked_probability(at_least, shift)))


def attacked_probability(
    probability: Float[np.ndarray, "*shape"] | float, shift: Float[np.ndarray, "..."] | float
) -> Float[np.ndarray, "..."] | float:
    """What the probability of an event under Gaussian noise can become, at worst: `Phi(Phi^{-1}(p) - shift)`.

    shift: the root of the total of the squared l2 shifts, in standard deviations of the noise.
    """
    return ndtr(ndtri(probability) - shift)


def _check(samples: int, budget: float, sigma: float, confidence: float) -> None:
    """The arguments all certificates share."""
    if samples < 1:
        raise SpecError("returns: got no sample, needs at least 1")
    if not budget >= 0:
        raise SpecError(f"budget: got {budget}, needs a number >= 0")
    if not sigma > 0:
        raise SpecError(f"sigma: got {sigma}, needs a number > 0")
    if not 0 < confidence < 1:
        raise SpecError(f"confidence: got {confidence}, needs a probability between 0 and 1, e.g. 0.95")
