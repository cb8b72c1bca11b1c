"""Certified means: that tangents lie below, that the limits hold, and what is chosen on which episodes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import norm

from jaxprune.bounds import (
    Episodes,
    chosen_mean,
    filter_mean,
    in_blocks,
    mean_limits,
    survival_limits,
    tangent_mean,
    tangents,
)
from jaxprune.bounds.smoothing import attacked_mean, attacked_probability
from jaxprune.bounds.tangent import BETS
from jaxprune.errors import SpecError
from tests.bounds.attacked_chains import random_chains

seeds = st.integers(0, 2**32 - 1)


def sampled(rng, episodes):
    """Returns of 95 good episodes in a hundred, and squares that grow with the time survived."""
    time = np.where(rng.uniform(size=episodes) < 0.05, rng.uniform(size=episodes), 1.0)
    returns = 3 * time + rng.normal(0, 0.05, episodes)
    return returns, time * rng.gamma(20, 0.01, episodes)


def two_blocks(rng, episodes):
    returns, spent = sampled(rng, episodes)
    return Episodes(np.stack([returns / 2, returns / 2], axis=1), np.stack([spent / 2, spent], axis=1))


def one_block(rng, episodes):
    return Episodes(*(part[:, None] for part in sampled(rng, episodes)))


# --- the linear function of an episode ----------------------------------------------------------------------


def by_hand(chosen, episodes):
    """Offset and Y, threshold by threshold and episode by episode."""
    offset, earned = 0.0, np.zeros(len(episodes.returns))
    for k, block in enumerate(chosen.blocks):
        before = block.lowest
        offset += block.lowest
        for threshold, budget, slope in zip(block.thresholds, block.budgets, block.slopes, strict=True):
            if slope > 0:
                point = ndtr((np.log(slope) + budget**2 / 2) / budget)
                height = ndtr(ndtri(point) - budget) - slope * point
                offset += (threshold - before) * height
            for i, (gain, paid) in enumerate(zip(episodes.returns[:, k], episodes.spent[:, k], strict=True)):
                if paid <= budget**2:
                    earned[i] += slope * np.clip(gain - before, 0, threshold - before)
            before = threshold
    return offset, earned


def test_what_an_episode_counts_is_the_integral_over_thresholds():
    rng = np.random.default_rng(0)
    chosen = tangents(two_blocks(rng, 30), lowest=np.array([-0.5, 0.2]), confidence=0.9)
    episodes = two_blocks(rng, 20)
    assert np.unique(chosen.blocks[0].budgets).size > 1
    offset, earned = by_hand(chosen, episodes)
    np.testing.assert_allclose(sum(block.offset for block in chosen.blocks), offset, rtol=1e-6)
    limit = mean_limits(earned, np.array([chosen.bet]), confidence=0.9)[0]
    np.testing.assert_allclose(tangent_mean(chosen, episodes, confidence=0.9), offset + limit, rtol=1e-6)


@settings(max_examples=50)
@given(seeds)
def test_the_linear_function_is_never_above_the_filter_whatever_the_law(seed):
    """For the law of other episodes, known exactly: each counts as often as any other."""
    rng = np.random.default_rng(seed)
    chosen = tangents(one_block(rng, 25), lowest=np.zeros(1), confidence=0.8)
    law = Episodes(rng.uniform(-1, 5, (12, 1)), rng.gamma(2, 0.2, (12, 1)))
    offset, earned = by_hand(chosen, law)
    block, returns, spent = chosen.blocks[0], law.returns[:, 0], law.spent[:, 0]
    ends = np.unique(np.concatenate([block.thresholds, returns, [0.0]]).clip(0))
    exact = 0.0
    for before, end in pairwise(ends):
        budget = block.budgets_at(np.array([end]))[0]
        reached = np.mean((returns >= end) & (spent <= budget**2))
        exact += (end - before) * float(attacked_probability(reached, budget))
    assert offset + earned.mean() <= exact + 1e-9


def test_tangents_touch_where_the_law_is_the_point():
    """Of many alike episodes the touching points are near the law: nearly nothing is lost there."""
    rng = np.random.default_rng(0)
    returns = rng.normal(10, 1, 20_000)
    many = Episodes(returns[:, None], np.ones((20_000, 1)))
    chosen = tangents(Episodes(*(part[:4000] for part in many)), lowest=np.zeros(1), confidence=0.5)
    offset = chosen.blocks[0].offset
    mean = chosen.blocks[0].earned(many.returns[:, 0], many.spent[:, 0]).mean()
    at_least = 1 - np.arange(returns.size) / returns.size
    exact = attacked_mean(np.sort(returns), at_least, lowest=0.0, shift=1.0)
    assert exact - 0.1 < offset + mean <= exact + 1e-3


def slack(rng, cases, fault=None):
    """Attacked mean of `sum_k max(G_k, lowest_k)` minus the linear function, of chains whose law is known."""
    chains = random_chains(rng, cases)
    probability, rewards, shifts = chains.clean()
    lowest, ends = np.array([-1.0, -0.5]), np.array([4, 8])
    left = []
    for case in range(cases):
        paid = shifts[case] / 2 if fault == "half of the shift" else shifts[case]
        law = in_blocks(rewards[case], paid, np.full(len(paid), 8), ends=ends)
        if fault == "the past is free":
            law = law._replace(spent=np.diff(law.spent, prepend=0))
        sample = rng.choice(len(paid), 12, p=probability[case] / probability[case].sum())
        chosen = tangents(Episodes(*(part[sample] for part in law)), lowest=lowest, confidence=0.1)
        parts = zip(chosen.blocks, law.returns.T, law.spent.T, strict=True)
        left.append(sum(b.offset + probability[case] @ b.earned(*given) for b, *given in parts))
    returns = np.stack([rewards[..., :4].sum(axis=-1), rewards[..., 4:].sum(axis=-1)], axis=-1)
    return chains.attacked(np.maximum(returns, lowest).sum(axis=-1)) - np.array(left)


@pytest.mark.parametrize("cases", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_adversary_takes_more_of_the_mean_than_tangents_allow(cases):
    """Adversaries that are optimal; the exact mean of Y, the tangents those of twelve episodes."""
    assert slack(np.random.default_rng(0), cases).min() >= -1e-9


@pytest.mark.parametrize("fault", ["half of the shift", "the past is free"])
def test_faulty_squares_are_caught_by_the_optimal_adversary(fault):
    assert slack(np.random.default_rng(0), 300, fault).min() < -1e-2


# --- the limit on a mean ------------------------------------------------------------------------------------


def test_the_limit_is_where_the_bets_have_won_enough():
    values = np.array([0.0, 1.0, 2.0, 2.0, 5.0, 3.0])
    limits = mean_limits(values, np.array([0.3, 0.8]), confidence=0.6)
    for bet, limit in zip((0.3, 0.8), limits, strict=True):
        root = brentq(lambda m, bet=bet: np.prod(1 - bet + bet * values / m) - 1 / 0.4, 1e-3, 2.2)
        np.testing.assert_allclose(limit, root)
    assert mean_limits(np.zeros(5), BETS, confidence=0.9).tolist() == [0.0] * BETS.size
    # Numbers that are all alike are known to the last bet: 1 / m to the n-th power is 1 / a.
    sure = mean_limits(np.ones(100), np.array([1 - 1e-12]), confidence=0.95)[0]
    np.testing.assert_allclose(sure, 0.05**0.01)


@pytest.mark.parametrize("law", ["rare", "heavy", "even"])
@pytest.mark.parametrize("bet", [0.2, 0.9])
def test_a_limit_is_too_high_no_more_often_than_promised(law, bet):
    rng = np.random.default_rng(0)
    draw, mean = {
        "rare": (lambda: (rng.uniform(size=30) < 0.9) * 1.0, 0.9),
        "heavy": (lambda: rng.pareto(1.5, 30), 2.0),
        "even": (lambda: rng.uniform(size=30), 0.5),
    }[law]
    limits = np.array([mean_limits(draw(), np.array([bet]), confidence=0.8)[0] for _ in range(2000)])
    assert np.mean(limits > mean) <= 0.2 + 3 * np.sqrt(0.16 / 2000)
    assert limits.max() > 0.7 * mean


@settings(max_examples=30)
@given(seeds, st.floats(0.01, 0.99), st.floats(0.01, 100))
def test_limits_scale_with_the_numbers_and_fall_with_the_confidence(seed, bet, scale):
    values, bets = np.random.default_rng(seed).gamma(1, 1, 20), np.array([bet])
    plain, scaled = (mean_limits(v, bets, confidence=0.8)[0] for v in (values, scale * values))
    np.testing.assert_allclose(scaled, scale * plain, rtol=1e-9)
    assert mean_limits(values, bets, confidence=0.9)[0] <= plain <= values.mean()


# --- who chooses, who certifies -----------------------------------------------------------------------------


def test_all_is_chosen_by_the_choosing_half_and_the_bound_is_of_the_other():
    choosing, certifying = (two_blocks(np.random.default_rng(seed), 30) for seed in range(2))
    kind = {"lowest": np.zeros(2), "confidence": 0.9}
    chosen, by = chosen_mean(choosing, certifying, **kind), tangents(choosing, **kind)
    assert chosen.bound == tangent_mean(by, certifying, confidence=0.9)
    np.testing.assert_array_equal(chosen.budgets, [block.budget for block in by.blocks])
    # Two more episodes spend more than any budget.
    more = Episodes(
        np.vstack([choosing.returns, np.ones((2, 2))]), np.vstack([choosing.spent, np.full((2, 2), 9)])
    )
    promised = [tangent_mean(by._replace(bet=float(bet)), more, confidence=0.9) for bet in BETS]
    assert tangent_mean(by, more, confidence=0.9) == max(promised) > min(promised)


def test_each_threshold_has_the_budget_that_leaves_most_there():
    choosing = one_block(np.random.default_rng(2), 40)
    block = tangents(choosing, lowest=np.zeros(1), confidence=0.9).blocks[0]
    returns, spent, limits = choosing.returns[:, 0], choosing.spent[:, 0], survival_limits(40, 0.9)
    np.testing.assert_array_equal(block.thresholds, np.sort(returns))
    tried = np.sqrt(spent) + 1e-12  # of which quantiles may be chosen
    for threshold, budget, slope in zip(block.thresholds, block.budgets, block.slopes, strict=True):
        reached = ((returns >= threshold) & (spent <= tried[:, None] ** 2)).sum(axis=1)
        left = attacked_probability(limits[reached], tried)
        chosen = limits[np.sum((returns >= threshold) & (spent <= budget**2))]
        assert attacked_probability(chosen, budget) == pytest.approx(left.max())
        np.testing.assert_allclose(slope, norm.pdf(ndtri(chosen) - budget) / norm.pdf(ndtri(chosen)))
    # Who lives longer spends more.
    assert np.unique(block.budgets).size > 1
    np.testing.assert_array_equal(block.budgets_at(block.thresholds), block.budgets)
    assert block.budgets_at(np.array([99.0]))[0] == block.budgets[-1]


def test_who_spends_exactly_the_same_everywhere_is_within_the_budget_chosen():
    """Each of these numbers is larger than the square of its root as computed."""
    for spent in (0.05, 0.2, 0.42):
        episodes = Episodes(np.ones((40, 1)), np.full((40, 1), spent))
        chosen = chosen_mean(episodes, episodes, lowest=np.zeros(1))
        assert chosen.bound > 0.5 and chosen.budgets[0] == pytest.approx(np.sqrt(spent))


@pytest.mark.parametrize("times", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_certified_mean_holds_as_often_as_promised(times):
    """From 10 episodes to choose on and 40 to certify with, of a law that the filter is nearly tight for.

    Block k returns 1 if the sum of k standard normal numbers is above a line. Of each number an adversary can
    move the mean by `shift`. It is best to move all to the left: `sqrt(k) shift` standard deviations of the
    sum, as the filter allows. In one episode of twenty an attack takes everything.
    """
    rng, blocks, shift, confidence = np.random.default_rng(0), np.array([1, 2]), 1.5, 0.8
    lost, lowest, rare = -3.0, -1.0, 0.05  # what is lost counts as the lowest
    chances = (1 - rare) * ndtr(1 - np.sqrt(blocks) * shift)
    attacked = float(np.sum(lowest + (1 - lowest) * chances))

    def drawn(episodes):
        won = rng.normal(size=(episodes, 2)).cumsum(axis=1) > -np.sqrt(blocks)
        square = np.where(rng.uniform(size=(episodes, 1)) < rare, 1e4, shift**2)
        return Episodes(np.where(won, 1.0, lost), square * blocks)

    def held(pairs, paid):
        """With this share of each shift paid for."""
        bounds = [
            chosen_mean(
                *(half._replace(spent=paid**2 * half.spent) for half in pair),
                lowest=np.full(2, lowest),
                confidence=confidence,
            ).bound
            for pair in pairs
        ]
        return np.mean(np.array(bounds) <= attacked)

    pairs = [(drawn(10), drawn(40)) for _ in range(times)]
    assert held(pairs, 1.0) >= confidence
    assert held(pairs[:50], 0.5) < 0.3
    assert held(pairs[:50], 0.0) < 0.1


def test_tangents_chosen_on_the_certifying_half_break_the_promise():
    """Every B certifies the same, `Phi(-1)`, of a sure return where `sqrt(spent) ~ N(1, 1)` from 0 on."""
    rng, truth, confidence = np.random.default_rng(0), ndtr(-1.0), 0.7

    def half():
        return Episodes(np.ones((25, 1)), np.maximum(rng.normal(1, 1, (25, 1)), 0) ** 2)

    def wrong(pairs):
        bounds = [chosen_mean(*pair, lowest=np.zeros(1), confidence=confidence).bound for pair in pairs]
        return np.mean(np.array(bounds) > truth)

    halves = [(half(), half()) for _ in range(300)]
    slack = 3 * np.sqrt(0.21 / 300)
    assert wrong(halves) <= 1 - confidence
    assert wrong([(one, one) for one, _ in halves]) > 1 - confidence + slack


@pytest.mark.parametrize(("blocks", "gain"), [(one_block, 1.0), (two_blocks, 1.02)])
@pytest.mark.parametrize("episodes", [30, 100, 600])
def test_one_mean_certifies_more_than_a_band(blocks, gain, episodes):
    """A band at the best budget of each block, chosen with hindsight, at its share of the error."""
    choosing, certifying = (blocks(np.random.default_rng(seed), episodes) for seed in range(2))
    lowest = np.zeros(certifying.returns.shape[1])
    found = chosen_mean(choosing, certifying, lowest=lowest, confidence=0.999).bound
    band = sum(
        max(
            filter_mean(returns, spent, lowest=0.0, budget=budget, confidence=1 - 0.001 / lowest.size)
            for budget in np.linspace(0.3, 0.6, 7)
        )
        for returns, spent in zip(certifying.returns.T, certifying.spent.T, strict=True)
    )
    assert found > gain * band


@settings(max_examples=30)
@given(seeds, st.floats(0.01, 100), st.floats(-100, 100))
def test_certified_means_scale_and_move_with_the_returns(seed, scale, offset):
    rng = np.random.default_rng(seed)
    choosing, certifying = one_block(rng, 40), one_block(rng, 40)

    def moved(episodes):
        return Episodes(scale * episodes.returns + offset, episodes.spent)

    plain = chosen_mean(choosing, certifying, lowest=np.array([-0.5])).bound
    other = chosen_mean(moved(choosing), moved(certifying), lowest=np.array([-0.5 * scale + offset])).bound
    np.testing.assert_allclose(other, scale * plain + offset, rtol=1e-7, atol=1e-7)


def test_where_nothing_is_left_the_limit_is_the_lowest():
    episodes = Episodes(np.ones((20, 2)), np.full((20, 2), 1e4))
    assert chosen_mean(episodes, episodes, lowest=np.array([-1.0, 0.5])).bound == -0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"confidence": 1.0}, "confidence: got 1.0"),
        ({"spent": np.array([[0.1], [-0.2]])}, r"spent: got a range of \[-0.2, 0.1\]"),
        ({"returns": np.array([[0.1], [np.nan]])}, "returns: got some"),
        ({"returns": np.zeros((0, 1)), "spent": np.zeros((0, 1))}, "episodes: got 0"),
    ],
)
def test_errors_name_the_argument(change, words):
    kind = {"returns": np.ones((2, 1)), "spent": np.zeros((2, 1)), "confidence": 0.9} | change
    with pytest.raises(SpecError, match=words):
        tangents(Episodes(kind["returns"], kind["spent"]), lowest=np.zeros(1), confidence=kind["confidence"])
