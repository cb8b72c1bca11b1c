"""Certificates on the return against adversaries that are optimal, and samples of laws that are known."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, ndtr, ndtri
from scipy.stats import norm

from jaxprune.bounds import (
    Episodes,
    categorical_kl_bound,
    categorical_shift_bound,
    certified_mean_return,
    certified_return_probability,
    chosen_probability,
    filter_curve,
    filter_mean,
    filter_probability,
    in_blocks,
    kl_gap,
    survival_limits,
)
from jaxprune.bounds.composition import BUDGETS, budgets_of, within
from jaxprune.bounds.smoothing import attacked_mean, attacked_probability
from jaxprune.errors import SpecError
from tests.bounds.attacked_chains import random_chains

CASES = 1000
many = pytest.mark.parametrize("seed", [0, pytest.param(range(1, 11), marks=pytest.mark.slow)])


def each(seed):
    """Random numbers of each thousand of cases."""
    return map(np.random.default_rng, [seed] if isinstance(seed, int) else seed)


def picked(rng, values):
    """One of the values of each case, [case, 1]."""
    return np.take_along_axis(values, rng.integers(0, values.shape[1], (len(values), 1)), axis=1)


def shares(probability, event):
    """Probability of an event of episodes, of each case."""
    return np.minimum((probability * event).sum(axis=1), 1)


# --- exact probabilities, the optimal adversary -------------------------------------------------------------


def slack_of_probabilities(rng, fault=None):
    """Attacked probability minus its bound, of random chains, thresholds and budgets."""
    chains = random_chains(rng, CASES)
    probability, rewards, shifts = chains.clean()
    returns = rewards.sum(axis=-1)
    reached = returns >= picked(rng, returns)
    attacked = chains.attacked(reached.astype(float))
    if fault == "visits of the mode":
        probability = chains.clean(lambda mean: (mean > 0).astype(float))[0]
    if fault == "half of the shift":
        shifts = shifts / 2
    spent = np.sum(shifts**2, axis=-1)
    budget = np.sqrt(picked(rng, spent))
    limit = budget if fault == "no square" else budget**2
    certified = attacked_probability(shares(probability, reached & (spent <= limit + 1e-12)), budget[:, 0])
    return attacked - certified


@many
def test_no_adversary_takes_more_of_a_probability_than_the_filter_allows(seed):
    for rng in each(seed):
        slack = slack_of_probabilities(rng)
        assert slack.min() >= -1e-9
        assert slack.min() < 1e-6  # and the bound is attained somewhere


@pytest.mark.parametrize("fault", ["half of the shift", "no square", "visits of the mode"])
def test_a_faulty_filter_is_caught_by_the_optimal_adversary(fault):
    assert np.mean(slack_of_probabilities(np.random.default_rng(0), fault) < -1e-3) > 0.02


def exact_filter_mean(probability, returns, spent, lowest, budget):
    """What `filter_mean` says of a law that is known, by its integral over thresholds."""
    counted = np.where(spent <= budget**2 + 1e-12, np.maximum(returns, lowest), lowest)
    order = np.argsort(counted)
    at_least = np.minimum(probability[order][::-1].cumsum()[::-1], 1)
    return attacked_mean(counted[order], at_least, lowest=lowest, shift=budget)


def slack_of_means(rng, blocks, unpaid=0):
    """Attacked mean of `sum_k max(G_k, lowest)` minus the sum of the bounds, one for each block.

    unpaid: how many of the last steps of each block are taken to cost nothing.
    """
    chains = random_chains(rng, CASES // 4)
    probability, rewards, shifts = chains.clean()
    ends = np.arange(1, blocks + 1) * (8 // blocks)
    returns = np.add.reduceat(rewards, np.append(0, ends[:-1]), axis=-1)
    spent = np.cumsum(shifts**2, axis=-1)
    lowest = float(rng.integers(-4, 1))
    attacked = chains.attacked(np.maximum(returns, lowest).sum(axis=-1))
    paid = np.concatenate([np.zeros_like(spent[..., :1]), spent], axis=-1)[..., ends - unpaid]
    budgets = np.sqrt(np.concatenate([picked(rng, paid[..., k]) for k in range(blocks)], axis=1))
    certified = [
        sum(
            exact_filter_mean(probability[case], returns[case, :, k], paid[case, :, k], lowest, budget)
            for k, budget in enumerate(budgets[case])
        )
        for case in range(len(budgets))
    ]
    return attacked - certified


@many
@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_no_adversary_takes_more_of_the_mean_than_one_filter_per_block_allows(blocks, seed):
    for rng in each(seed):
        assert slack_of_means(rng, blocks).min() >= -1e-9


def test_a_block_that_does_not_pay_for_its_own_last_step_is_caught():
    """With blocks of one step, the reward of a step would be had for the shifts before it."""
    assert slack_of_means(np.random.default_rng(0), 8).min() >= -1e-9
    assert slack_of_means(np.random.default_rng(0), 8, unpaid=1).min() < -1e-2


@many
@pytest.mark.parametrize(("policy", "chance"), [("gaussian", ndtr), ("softmax", expit)])
def test_no_adversary_takes_more_of_the_mean_than_the_kl_gap(policy, chance, seed):
    """Two logits that differ by the mean: the span of their change is the shift."""
    for rng in each(seed):
        chains = random_chains(rng, CASES, chance=chance, largest=0.3)
        probability, rewards, shifts = chains.clean()
        squares = (
            shifts**2 / 2
            if policy == "gaussian"
            else np.asarray(categorical_kl_bound(jnp.asarray(shifts)), float)
        )
        returns, divergence = rewards.sum(axis=-1), squares.sum(axis=-1)
        loss = (probability * returns).sum(axis=1) - chains.attacked(returns)
        kl, span = (probability * divergence).sum(axis=1), np.ptp(returns, axis=1)
        gap = [
            kl_gap(np.array([mean]), span=width, cap=mean, most=mean)
            for mean, width in zip(kl, span, strict=True)
            if width > 0
        ]
        assert np.all(loss[span > 0] <= np.array(gap) + 1e-9)
        assert np.max(loss[span > 0] / gap) > 0.2
        # An adversary that is stopped: what it would have done later costs at most the span.
        cap = picked(rng, divergence)
        stopped = shares(probability, divergence > cap + 1e-12)
        kl = (probability * np.minimum(divergence, cap)).sum(axis=1)
        assert np.all(loss <= span * (stopped + np.sqrt(-np.expm1(-kl))) + 1e-9)


def test_the_filter_holds_for_a_softmax_policy_whose_logits_move():
    chains = random_chains(np.random.default_rng(0), CASES, chance=expit)
    probability, rewards, spans = chains.clean()
    spent = np.sum(np.asarray(categorical_shift_bound(jnp.asarray(spans)), float) ** 2, axis=-1)
    rng = np.random.default_rng(1)
    reached = rewards.sum(axis=-1) >= picked(rng, rewards.sum(axis=-1))
    budget = np.sqrt(picked(rng, spent))
    certified = attacked_probability(
        shares(probability, reached & (spent <= budget**2 + 1e-12)), budget[:, 0]
    )
    slack = chains.attacked(reached.astype(float)) - certified
    assert -1e-6 < slack.min() < 1e-3


@settings(max_examples=50)
@given(st.integers(2, 6), st.floats(0.05, 6), st.integers(0, 2**32 - 1))
def test_a_softmax_change_is_no_easier_to_see_than_its_gaussian_shift(actions, span, seed):
    """For all events that a likelihood ratio picks, which are the most powerful tests."""
    rng = np.random.default_rng(seed)
    change = rng.choice([0.0, 1.0, rng.uniform()], actions)
    change[:2] = 0, 1
    logits = rng.normal(size=actions) * 3
    p, q = (np.exp(z) / np.exp(z).sum() for z in (logits, logits + span * change))
    order = np.argsort(q / p)
    shift = float(categorical_shift_bound(jnp.asarray(span)))
    least = ndtr(ndtri(np.minimum(p[order].cumsum(), 1)) - shift)
    assert np.all(q[order].cumsum() >= least - 1e-9)


def test_the_gaussian_shift_of_a_softmax_change_is_attained_by_two_actions_of_equal_chance():
    span = 0.05
    apart = ndtri(expit(span / 2)) - ndtri(expit(-span / 2))
    np.testing.assert_allclose(float(categorical_shift_bound(jnp.asarray(span))), apart, rtol=1e-4)


# --- where the bound is exact -------------------------------------------------------------------------------


def test_one_step_leaves_exactly_what_is_certified():
    chains = random_chains(np.random.default_rng(3), CASES, steps=1)
    probability, _, shifts = chains.clean()
    right = np.array([False, True])
    certified = attacked_probability(shares(probability, right), shifts[:, 0, 0])
    np.testing.assert_allclose(chains.attacked(np.tile(right.astype(float), (CASES, 1))), certified)


def test_an_event_of_the_sum_of_the_actions_leaves_exactly_what_is_certified():
    """R = 1 where nine actions of mean 0.5 sum to 1 or more; each is moved by 0.2, in 200,000 episodes."""
    rng, steps, shift = np.random.default_rng(0), 9, 0.2
    clean = norm.sf(1, loc=steps * 0.5, scale=3)
    certified = attacked_probability(np.array([clean]), np.sqrt(steps * shift**2))[0]
    attacked = np.mean(rng.normal(0.5 - shift, 1, (200_000, steps)).sum(axis=1) >= 1)
    assert abs(attacked - certified) < 4 * np.sqrt(0.25 / 200_000)
    assert clean - certified > 0.05


# --- samples ------------------------------------------------------------------------------------------------


def sampled(rng, episodes):
    """Returns of 95 good episodes in a hundred, and squares that grow with the time survived."""
    time = np.where(rng.uniform(size=episodes) < 0.05, rng.uniform(size=episodes), 1.0)
    returns = 3 * time + rng.normal(0, 0.05, episodes)
    return returns, time * rng.gamma(20, 0.01, episodes)


def test_the_filter_counts_who_spends_too_much_as_lowest():
    returns, spent = np.array([4.0, -3.0, 2.0, 1.0] * 10), np.array([0.1, 0.1, 0.25, 0.26] * 10)
    counted = np.array([4.0, -1.0, 2.0, -1.0] * 10)
    kind = {"budget": 0.5, "confidence": 0.9}
    certified = filter_mean(returns, spent, lowest=-1.0, **kind)
    free = filter_mean(counted, np.zeros(40), lowest=-1.0, **kind)
    assert certified == free
    limits = filter_curve(returns, spent, np.array([-4.0, 2.0, 4.0]), budgets=np.full(3, 0.5), confidence=0.9)
    assert limits.shape == (3,) and limits[0] > limits[1] > limits[2] > 0
    probability = filter_probability(returns, spent, 2.0, **kind)
    assert probability == certified_return_probability(counted, 2.0, sigma=1.0, **kind)
    # No threshold counts an episode whose adversary was stopped.
    assert filter_probability(returns, spent, -5.0, **kind) < filter_probability(
        returns, 0 * spent, -5.0, **kind
    )


def test_the_mean_is_the_integral_of_the_curve_of_its_own_band():
    rng = np.random.default_rng(0)
    returns, spent = rng.integers(0, 12, 50).astype(float), rng.uniform(size=50)
    curve = filter_curve(returns, spent, np.arange(1.0, 12.0), budgets=np.full(11, 0.9), confidence=0.8)
    certified = filter_mean(returns, spent, lowest=0.0, budget=0.9, confidence=0.8)
    np.testing.assert_allclose(curve.sum(), certified, rtol=1e-12)


def test_thresholds_with_budgets_of_their_own_share_the_error():
    returns, spent = sampled(np.random.default_rng(0), 80)
    thresholds, budgets = np.array([2.5, 1.0]), np.array([0.3, 0.5])
    curve = filter_curve(returns, spent, thresholds, budgets=budgets, confidence=0.9)
    for limit, threshold, budget in zip(curve, thresholds, budgets, strict=True):
        one = filter_probability(returns, spent, threshold, budget=budget, confidence=0.95)
        np.testing.assert_allclose(limit, one)


def test_blocks_by_hand():
    rewards = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], np.float32)
    shifts = np.array([[1.0, 2.0, 0.5, 1.0], [3.0, 9.0, 9.0, 9.0]], np.float32)
    episodes = in_blocks(rewards, shifts, np.array([4, 1]), ends=np.array([1, 3, 4]))
    np.testing.assert_array_equal(episodes.returns, [[1, 5, 4], [5, 0, 0]])
    np.testing.assert_array_equal(episodes.spent, [[1, 5.25, 6.25], [9, 9, 9]])


def test_a_mean_over_atoms_is_too_high_no_more_often_than_promised_without_an_attack():
    rng, values = np.random.default_rng(0), np.array([0.0, 1.0, 2.0, 5.0])
    law = np.array([0.1, 0.2, 0.3, 0.4])
    bounds = np.array(
        [
            filter_mean(rng.choice(values, 25, p=law), np.zeros(25), lowest=0.0, budget=0.0, confidence=0.6)
            for _ in range(1000)
        ]
    )
    assert 0.6 <= np.mean(bounds <= law @ values) < 1


def test_a_budget_chosen_on_the_certifying_half_breaks_the_promise():
    """Every B certifies the same, `Phi(-1)`, of a sure return where `sqrt(spent) ~ N(1, 1)` from 0 on."""
    rng, truth, confidence = np.random.default_rng(0), ndtr(-1.0), 0.7

    def half():
        return Episodes(np.ones((12, 1)), np.maximum(rng.normal(1, 1, (12, 1)), 0) ** 2)

    def wrong(pairs):
        bounds = [chosen_probability(*pair, 1.0, confidence=confidence).bound for pair in pairs]
        return np.mean(np.array(bounds) > truth)

    halves = [(half(), half()) for _ in range(300)]
    slack = 3 * np.sqrt(0.21 / 300)
    assert wrong(halves) <= 1 - confidence + slack
    assert wrong([(one, one) for one, _ in halves]) > 1 - confidence + 2 * slack


def test_the_limit_of_the_kl_gap_holds_as_often_as_promised_and_shrinks_with_episodes():
    rng, span, cap = np.random.default_rng(0), 10.0, 0.3
    law = np.minimum(rng.gamma(2, 0.05, 200_000), 1)
    kl = np.minimum(law, cap).mean()
    exact = span * (np.mean(law > cap) + min(np.sqrt(-np.expm1(-kl)), np.sqrt(kl / 2)))
    gaps = [kl_gap(rng.choice(law, 60), span=span, cap=cap, confidence=0.8) for _ in range(200)]
    assert np.mean(np.array(gaps) >= exact) >= 0.8
    assert exact < kl_gap(law[:5000], span=span, cap=cap) < exact + 0.2 < np.mean(gaps) < span


def test_the_kl_gap_by_hand():
    """One episode of ten exceeds the cap; half of the error for it, half for the mean."""
    divergence = np.array([0.0] * 9 + [7.0])
    always = np.zeros(10)
    kind = {"span": 2.0, "confidence": 0.9}
    small = kl_gap(always, cap=0.1, most=0.1, **kind)
    paid_for = kl_gap(always, cap=0.1, **kind)
    assert 0 < small < paid_for < kl_gap(divergence, cap=0.1, **kind) <= 2
    kl = 0.1 * (1 - survival_limits(10, 0.95)[10])
    np.testing.assert_allclose(paid_for, 2 * (1 - 0.05**0.1 + np.sqrt(kl / 2)))
    # Who comes up to the cap is not stopped.
    at_cap = kl_gap(np.full(10, 0.1), cap=0.1, **kind)
    np.testing.assert_allclose(at_cap, 2 * (1 - 0.05**0.1 + np.sqrt(0.05)))
    # What cannot be exceeded is not paid for, and the limit on the mean is `most` at worst.
    sure = kl_gap(np.full(10, 0.1), cap=5.0, most=0.1, **kind)
    np.testing.assert_allclose(sure, 2 * min(np.sqrt(1 - np.exp(-0.1)), np.sqrt(0.05)))
    assert kl_gap(always, cap=5.0, most=0.0, **kind) == 0
    large = kl_gap(np.full(10, 3.0), cap=3.0, most=3.0, **kind)
    np.testing.assert_allclose(large, 2 * np.sqrt(1 - np.exp(-3)))


# --- properties ---------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=30)
@given(seeds, st.floats(0, 2), st.floats(0, 2))
def test_more_budget_needed_or_spent_and_more_confidence_certify_less(seed, one, two):
    returns, spent = sampled(np.random.default_rng(seed), 40)
    less, more = sorted((one, two))
    kind = {"lowest": 0.0, "confidence": 0.9}
    free = np.zeros(40)
    assert filter_mean(returns, free, budget=more, **kind) <= filter_mean(returns, free, budget=less, **kind)
    assert filter_mean(returns, spent * more, budget=0.4, **kind) <= filter_mean(
        returns, spent * less, budget=0.4, **kind
    )
    strict, loose = (filter_mean(returns, spent, lowest=0.0, budget=0.4, confidence=c) for c in (0.99, 0.7))
    assert strict <= loose


@settings(max_examples=30)
@given(seeds, st.floats(0, 2))
def test_the_same_shares_in_more_episodes_certify_more(seed, budget):
    returns, spent = sampled(np.random.default_rng(seed), 40)
    kind = {"lowest": 0.0, "budget": budget}
    once = filter_mean(returns, spent, **kind)
    assert filter_mean(np.tile(returns, 2), np.tile(spent, 2), **kind) >= once


@settings(max_examples=30)
@given(seeds, st.floats(0.01, 100), st.floats(-100, 100))
def test_certified_means_scale_and_move_with_the_returns(seed, scale, offset):
    returns, spent = sampled(np.random.default_rng(seed), 40)
    plain = filter_mean(returns, spent, lowest=-0.5, budget=0.45)
    moved = filter_mean(scale * returns + offset, spent, lowest=-0.5 * scale + offset, budget=0.45)
    np.testing.assert_allclose(moved, scale * plain + offset, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("episodes", [100, 1000])
@pytest.mark.parametrize("budget", [0.5, 1.0, 2.0])
def test_returns_that_are_almost_sure_keep_more_than_by_a_band_of_constant_width(episodes, budget):
    returns, _ = sampled(np.random.default_rng(0), episodes)
    kind = {"lowest": 0.0, "budget": budget}
    constant = certified_mean_return(returns, sigma=1.0, **kind)
    assert filter_mean(returns, np.zeros(episodes), **kind) > 1.04 * constant


def test_budgets_are_tried_from_the_smallest_that_was_spent_to_the_largest():
    spent = np.random.default_rng(0).permutation(np.arange(1.0, 101.0)) ** 2
    tried = budgets_of(spent)
    assert tried.size == BUDGETS and (tried[0], tried[-1]) == (pytest.approx(1), pytest.approx(100))
    assert np.diff(tried).max() < 4.1
    assert within(spent, tried[-1]).all()  # who spends just as much is within


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"budget": -1.0}, "budget: got -1.0"),
        ({"budget": np.inf}, "budget: got inf"),
        ({"confidence": 1.0}, "confidence: got 1.0"),
        ({"spent": np.array([0.1, -0.2])}, r"spent: got a range of \[-0.2, 0.1\]"),
        ({"spent": np.array([0.1, np.nan])}, "spent: got a range of"),
        ({"returns": np.array([0.1, np.nan])}, "returns: got some"),
        ({"returns": np.zeros(0), "spent": np.zeros(0)}, "episodes: got 0"),
    ],
)
def test_errors_name_the_argument(change, words):
    kind = {"returns": np.ones(2), "spent": np.zeros(2), "lowest": 0.0, "budget": 0.1} | change
    with pytest.raises(SpecError, match=words):
        filter_mean(**kind)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"span": np.inf}, "span: got inf"),
        ({"span": 0.0}, "span: got 0.0"),
        ({"cap": np.inf}, "cap: got inf"),
        ({"cap": 0.0}, "cap: got 0.0"),
        ({"divergence": np.array([-1.0])}, "divergence: got a range"),
    ],
)
def test_errors_of_the_kl_gap_name_the_argument(change, words):
    with pytest.raises(SpecError, match=words):
        kl_gap(**{"divergence": np.ones(3), "span": 1.0, "cap": 1.0} | change)


@pytest.mark.parametrize("ends", [[], [2], [3, 2, 4], [0, 4], [2, 5]])
def test_blocks_must_end_in_order_and_with_the_recording(ends):
    with pytest.raises(SpecError, match=r"ends: got .* up to the 4 recorded"):
        in_blocks(np.ones((3, 4)), np.ones((3, 4)), np.full(3, 4), ends=np.array(ends, int))
