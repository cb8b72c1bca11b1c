"""The mean return under attack, certified as the mean of one number per episode.

The filter (`composition`) bounds every probability by itself, `P_attacked[R >= tau] >= g_B(p)` with
`g_B(p) = Phi(Phi^{-1}(p) - B)` and `p = P_clean[R >= tau and spent <= B^2]`. The derivative of g_B,
`exp(B Phi^{-1}(p) - B^2 / 2)`, grows with p: g_B is convex, and none of its tangents is anywhere above it.
So for any B(tau) and any point q(tau) in which to touch

    E_attacked[max(R, lowest)] >= lowest + int g(q) - g'(q) q dtau + E_clean[Y],
    Y = int_lowest^R g'(q(tau)) [spent <= B(tau)^2] dtau.

What is left to the episodes is one mean, where a band has to hold at all thresholds together. Thresholds may
have budgets of their own, and the blocks of an episode (prefix budgets) add up to one Y: neither costs a
share of the error. Touching points, budgets and the bet below are chosen on other episodes than those that
are certified; a poor choice makes the limit lower, never wrong.

**The limit on the mean.** Y is not negative. Let m be its mean and `K = prod_i (1 - bet + bet Y_i / m)` over
independent episodes, with a bet in [0, 1) that does not depend on them. K is not negative and its mean is 1,
so it reaches 1 / a with probability a at most (Markov). It falls with m: the largest m at which it reaches
1 / a is too high with probability a at most, for every distribution, bounded or not.

References: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, Journal of the
Royal Statistical Society B 2024; for the filter see `composition`.
"""

from math import log
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from jaxprune.bounds.band import survival_limits
from jaxprune.bounds.composition import Chosen, Episodes, budgets_of, check_episodes, within
from jaxprune.bounds.smoothing import attacked_probability

BETS = 1 - np.geomspace(1e-3, 0.98, 40)
"""Which are tried; near 1 for episodes that are nearly all alike."""

UNSEEN = 2
"""Episodes that count nowhere, with which the bet is chosen beside those that were seen."""

HALVINGS = 50
"""Of the interval in which a limit lies."""


class Block(NamedTuple):
    """The tangents of one block; each holds from the threshold before it, or the lowest sum, up to its own.

    budgets: B(tau). slopes: `g'(q(tau))`. offset: the lowest sum and `int g(q) - g'(q) q dtau`.
    """

    lowest: float
    thresholds: Float[np.ndarray, " threshold"]
    budgets: Float[np.ndarray, " threshold"]
    slopes: Float[np.ndarray, " threshold"]
    offset: float

    @property
    def budget(self) -> float:
        """The most that an episode may spend and still count at some threshold."""
        return float(np.max(self.budgets, where=self.slopes > 0, initial=0.0))

    def budgets_at(self, thresholds: Float[np.ndarray, " threshold"]) -> Float[np.ndarray, " threshold"]:
        """B(tau) at others; above the highest, as there."""
        places = np.searchsorted(self.thresholds, thresholds)
        return self.budgets[np.minimum(places, self.budgets.size - 1)]

    def earned(
        self, returns: Float[np.ndarray, " episode"], spent: Float[np.ndarray, " episode"]
    ) -> Float[np.ndarray, " episode"]:
        """What Y has of this block."""
        steps = self.slopes * np.diff(self.thresholds, prepend=self.lowest)
        ends = np.append(self.lowest, self.thresholds)
        total = np.zeros(returns.size)
        for budget in np.unique(self.budgets):
            paid = np.append(0.0, np.cumsum(np.where(self.budgets == budget, steps, 0.0)))
            total += np.where(within(spent, budget), np.interp(returns, ends, paid), 0.0)
        return total


class Tangents(NamedTuple):
    """All that is chosen before the certified episodes are looked at."""

    blocks: tuple[Block, ...]
    bet: float

    @property
    def budgets(self) -> Float[np.ndarray, " block"]:
        """The most that an episode may spend up to the end of each block and still count."""
        return np.array([block.budget for block in self.blocks])


def tangents(
    episodes: Episodes, *, lowest: Float[np.ndarray, " block"], confidence: float = 0.95
) -> Tangents:
    """Those that suit these episodes; the bound of the same episodes by them is too high.

    q is the lower limit of the band on p, which is about where all episodes together may be off. The bet is
    that of `UNSEEN` more episodes: some that have not been seen may spend more than all that have, and a bet
    that takes this for impossible loses nearly all.

    Raises:
        SpecError: no episode, returns that are not finite, negative squares, or a confidence outside (0, 1).
    """
    check_episodes(*episodes)
    limits = survival_limits(len(episodes.returns), confidence)
    parts = zip(episodes.returns.T, episodes.spent.T, lowest, strict=True)
    blocks = tuple(_block(earned, spent, float(least), limits) for earned, spent, least in parts)
    with_unseen = np.append(_earned(blocks, episodes), np.zeros(UNSEEN))
    found = mean_limits(with_unseen, BETS, confidence=confidence)
    return Tangents(blocks, float(BETS[np.argmax(found)]))


def tangent_mean(chosen: Tangents, episodes: Episodes, *, confidence: float = 0.95) -> float:
    """Lower bound on `E[sum_k max(G_k, lowest_k)]` under attack.

    chosen: on episodes independent of these, over which the confidence holds.

    Raises:
        SpecError: as `tangents`.
    """
    check_episodes(*episodes)
    earned = _earned(chosen.blocks, episodes)
    limit = mean_limits(earned, np.array([chosen.bet]), confidence=confidence)[0]
    least = sum(block.lowest for block in chosen.blocks)
    return max(least, sum(block.offset for block in chosen.blocks) + float(limit))


def chosen_mean(
    choosing: Episodes,
    certifying: Episodes,
    *,
    lowest: Float[np.ndarray, " block"],
    confidence: float = 0.95,
) -> Chosen:
    """`tangent_mean` of some episodes by the tangents that suit others.

    Args:
        choosing: episodes on which the tangents are chosen; about as many as the others, so that limits are
            as wide.
        certifying: episodes independent of them, over which the confidence holds.
        lowest: of each block; sums below it count as it.
        confidence: probability that the bound holds.

    Raises:
        SpecError: as `tangents`.
    """
    chosen = tangents(choosing, lowest=lowest, confidence=confidence)
    return Chosen(tangent_mean(chosen, certifying, confidence=confidence), chosen.budgets)


def mean_limits(
    values: Float[np.ndarray, " episode"], bets: Float[np.ndarray, " bet"], *, confidence: float
) -> Float[np.ndarray, " bet"]:
    """Lower limits on the mean of independent numbers that are not negative, one for each bet.

    Each holds with the confidence by itself, if its bet was chosen without the numbers.
    """
    low, high = np.zeros(bets.size), np.full(bets.size, values.mean())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):  # all numbers 0, whose limit is 0
            won = np.log1p(bets * (values[:, None] / middle - 1)).sum(axis=0)
        enough = won >= -log(1 - confidence)
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    return low


def _block(
    returns: Float[np.ndarray, " episode"],
    spent: Float[np.ndarray, " episode"],
    lowest: float,
    limits: Float[np.ndarray, " reached"],
) -> Block:
    """At each return seen the budget that leaves most there, and the tangent in the limit on p."""
    order, every = np.argsort(returns), np.arange(returns.size)
    thresholds, budgets = np.maximum(returns[order], lowest), budgets_of(spent)
    kept = np.stack([within(spent[order], budget) for budget in budgets])
    points = limits[np.cumsum(kept[:, ::-1], axis=1)[:, ::-1]]
    left = np.asarray(attacked_probability(points, budgets[:, None]))
    best = np.argmax(left, axis=0)
    point, budget = points[best, every], budgets[best]
    slopes = np.exp(budget * ndtri(point) - budget**2 / 2)
    heights = np.minimum(left[best, every] - slopes * point, 0)  # of a convex function that is 0 at 0
    offset = lowest + float(np.diff(thresholds, prepend=lowest) @ heights)
    return Block(lowest, thresholds, budget, slopes, offset)


def _earned(blocks: tuple[Block, ...], episodes: Episodes) -> Float[np.ndarray, " episode"]:
    """Y of each episode."""
    parts = zip(blocks, episodes.returns.T, episodes.spent.T, strict=True)
    return np.sum([block.earned(returns, spent) for block, returns, spent in parts], axis=0)
