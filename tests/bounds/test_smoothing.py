"""Smoothing against probes whose worst case is known in closed form."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from jaxprune.bounds import (
    certified_action,
    certified_mean_return,
    certified_return_probability,
    certified_vote,
    episodes_needed,
    largest_budget,
    votes_needed,
)
from jaxprune.errors import SpecError

SIGMA, BUDGET = 0.5, 0.3


def probe_returns(rng, episodes, shift):
    """Two steps, a point for each noisy observation that is positive; all budget on the first."""
    seen = rng.normal([0.4 - shift, 0.4], SIGMA, size=(episodes, 2))
    return (seen > 0).sum(axis=1).astype(float)


def test_certified_probability_is_below_the_worst_case_and_near_it():
    """For the event of a single half-space the bound is attained."""
    rng = np.random.default_rng(0)
    returns = (rng.normal(0.4, SIGMA, size=20_000) > 0).astype(float)
    worst = norm.cdf((0.4 - BUDGET) / SIGMA)
    certified = certified_return_probability(returns, 1.0, budget=BUDGET, sigma=SIGMA, confidence=0.999)
    assert worst - 0.02 < certified <= worst


def test_certified_mean_is_below_what_an_adversary_leaves():
    rng = np.random.default_rng(1)
    clean = probe_returns(rng, 20_000, 0.0)
    kind = {"lowest": 0.0, "sigma": SIGMA, "confidence": 0.99}
    attacked = norm.cdf((0.4 - BUDGET) / SIGMA) + norm.cdf(0.4 / SIGMA)
    certified = certified_mean_return(clean, budget=BUDGET, **kind)
    assert 0.8 * attacked < certified <= attacked
    unattacked = certified_mean_return(clean, budget=0.0, **kind)
    assert clean.mean() - 0.05 < unattacked < clean.mean()


def test_mean_of_negative_returns_starts_from_the_lowest():
    returns = np.full(1000, -2.0)
    certified = certified_mean_return(returns, lowest=-5.0, budget=0.0, sigma=1.0)
    np.testing.assert_allclose(certified, -2 - 3 * np.sqrt(np.log(20) / 2000))


def test_returns_below_the_lowest_count_as_the_lowest():
    """A quarter of the episodes falls below -1: what is certified is the mean of the returns cut there."""
    returns = np.repeat([-7.0, -1.0, 2.0, 4.0], 250)
    kind = {"lowest": -1.0, "budget": 0.0, "sigma": 1.0}
    band = np.sqrt(np.log(20) / 2000)
    expected = -1 + 3 * (0.5 - band) + 2 * (0.25 - band)
    np.testing.assert_allclose(certified_mean_return(returns, **kind), expected)
    assert certified_mean_return(returns, **kind) == certified_mean_return(np.maximum(returns, -1), **kind)


def test_a_stricter_confidence_for_each_keeps_the_promise_for_the_best_of_ten():
    """Ten equal policies: the largest of ten limits at 80 % is too high too often, at 98 % it is not."""
    rng = np.random.default_rng(4)
    groups = rng.binomial(1, 0.5, size=(300, 10, 60)).astype(float)

    def wrong(confidence):
        kind = {"lowest": 0.0, "budget": 0.0, "sigma": 1.0, "confidence": confidence}
        best = [max(certified_mean_return(returns, **kind) for returns in group) for group in groups]
        return np.mean(np.array(best) > 0.5)

    assert wrong(0.8) > 0.2 >= wrong(1 - 0.2 / 10)


def test_limit_of_the_share_is_that_of_clopper_and_pearson():
    returns = np.repeat([1.0, 0.0], [37, 13])
    certified = certified_return_probability(returns, 0.5, budget=0.0, sigma=1.0, confidence=0.95)
    np.testing.assert_allclose(certified, binomtest(37, 50, alternative="greater").proportion_ci(0.95).low)
    assert certified_return_probability(returns, 2.0, budget=0.0, sigma=1.0) == 0


def test_episodes_needed_is_the_least_number_that_suffices():
    needed = episodes_needed(0.9, budget=BUDGET, sigma=SIGMA)
    kind = {"budget": BUDGET, "sigma": SIGMA}
    assert certified_return_probability(np.ones(needed), 1.0, **kind) >= 0.9
    assert certified_return_probability(np.ones(needed - 1), 1.0, **kind) < 0.9


@pytest.mark.parametrize("episodes", [7, 60, 1000])
def test_the_largest_budget_needs_just_so_many_episodes(episodes):
    budget = largest_budget(0.6, episodes, sigma=SIGMA, confidence=0.95)
    kind = {"sigma": SIGMA, "confidence": 0.95}
    assert episodes_needed(0.6, budget=budget - 1e-9, **kind) == episodes
    assert episodes_needed(0.6, budget=budget + 1e-9, **kind) == episodes + 1
    certified = certified_return_probability(np.ones(episodes), 1.0, budget=budget, **kind)
    np.testing.assert_allclose(certified, 0.6)


def test_too_few_episodes_leave_no_budget_and_say_how_many_would():
    needed = episodes_needed(0.9, budget=0.0, sigma=1.0)
    assert largest_budget(0.9, needed, sigma=1.0) > 0
    with pytest.raises(SpecError, match=f"episodes: got {needed - 1}, .* at least {needed} "):
        largest_budget(0.9, needed - 1, sigma=1.0)


def test_certified_action_radius_is_below_the_true_one():
    """Votes of a linear rule: the best action changes exactly at distance 0.4."""
    rng = np.random.default_rng(2)
    votes = np.eye(2)[(rng.normal(0.4, SIGMA, size=50_000) < 0).astype(int)]
    certified = certified_action(votes, low=0.0, high=1.0, sigma=SIGMA, confidence=0.999)
    assert certified.action == 0
    assert 0.37 < certified.radius <= 0.4


def test_the_radius_of_three_action_values_follows_from_hoeffdings_limits():
    """Values in [-2, 3]; limits on three means from both sides hold together."""
    values = np.random.default_rng(0).uniform([1.5, -1.0, -2.0], [3.0, 0.5, 1.0], size=(200, 3))
    shares, error = (values.mean(0) + 2) / 5, 0.1
    limit = np.sqrt(np.log(2 * 3 / error) / (2 * 200))
    expected = SIGMA / 2 * (norm.ppf(shares[0] - limit) - norm.ppf(shares[1:].max() + limit))
    found = certified_action(values, low=-2.0, high=3.0, sigma=SIGMA, confidence=1 - error)
    np.testing.assert_allclose(found.radius, expected)
    # Enough are those whose limits no longer meet.
    needed, gap = found.samples_needed, shares[0] - shares[1:].max()
    both = [2 * np.sqrt(np.log(6 / error) / (2 * count)) for count in (needed, needed - 1)]
    assert both[0] <= gap < both[1]


def test_certified_vote_is_below_the_true_radius_and_nearer_than_the_general_certificate():
    rng = np.random.default_rng(2)
    first = int((rng.normal(0.4, SIGMA, size=50_000) < 0).sum())
    counts = np.array([first, 50_000 - first])
    vote = certified_vote(counts, sigma=SIGMA, confidence=0.999)
    values = certified_action(
        np.repeat(np.eye(2), counts, axis=0), low=0.0, high=1.0, sigma=SIGMA, confidence=0.999
    )
    assert (vote.action, values.action) == (1, 1)
    assert 0.37 < values.radius < vote.radius <= 0.4


def test_the_radius_of_votes_is_wrong_no_more_often_than_promised():
    """The distance to the border of a half-space is `sigma Phi^{-1}(share)`, the largest sound radius."""
    rng = np.random.default_rng(3)
    for share in (0.6, 0.9, 0.999):
        true = SIGMA * norm.ppf(share)
        votes = rng.binomial(100, share, size=2000)
        radii = [certified_vote(np.array([n, 100 - n]), sigma=SIGMA, confidence=0.9) for n in votes]
        assert np.mean([(r.action == 1 and r.radius > 0) or r.radius > true for r in radii]) <= 0.1


def test_the_radius_of_three_actions_follows_from_their_limits():
    counts, error = np.array([70, 20, 10]), 0.05 / 6
    lower = binomtest(70, 100, alternative="greater").proportion_ci(1 - error).low
    upper = binomtest(20, 100, alternative="less").proportion_ci(1 - error).high
    expected = SIGMA / 2 * (norm.ppf(lower) - norm.ppf(min(upper, 1 - lower)))
    np.testing.assert_allclose(certified_vote(counts, sigma=SIGMA).radius, expected)


@pytest.mark.parametrize("actions", [2, 5])
def test_the_votes_needed_are_the_fewest_that_certify(actions):
    needed = votes_needed(actions, sigma=1.0, confidence=0.99)
    votes = np.zeros(actions, int)
    votes[1] = needed
    assert certified_vote(votes, sigma=1.0, confidence=0.99).radius > 0
    votes[1] = needed - 1
    with pytest.raises(SpecError, match=f"got {needed - 1} votes, .* at least {needed}"):
        certified_vote(votes, sigma=1.0, confidence=0.99)


@pytest.mark.parametrize("counts", [np.array([5]), np.array([5, -1])])
def test_counts_that_are_no_vote_are_refused(counts):
    with pytest.raises(SpecError, match="counts: got"):
        certified_vote(counts, sigma=1.0)


def test_too_few_votes_certify_nothing_and_say_how_many_would():
    votes = np.repeat(np.eye(2), [6, 4], axis=0)
    certified = certified_action(votes, low=0.0, high=1.0, sigma=1.0)
    assert certified.radius == 0
    repeated = np.repeat(votes, int(np.ceil(certified.samples_needed / 10)) + 1, axis=0)
    assert certified_action(repeated, low=0.0, high=1.0, sigma=1.0).radius > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sigma": 0.0}, "sigma: got 0.0"),
        ({"budget": -1.0}, "budget: got -1.0"),
        ({"confidence": 0.3}, "confidence: got 0.3"),
        ({"confidence": 1 - 1e-12}, "got 10 episodes, .* over 14"),
    ],
)
def test_errors_name_the_argument(change, words):
    kind = {"lowest": 0.0, "budget": 0.1, "sigma": 1.0} | change
    with pytest.raises(SpecError, match=words):
        certified_mean_return(np.ones(10), **kind)


def test_an_impossible_certificate_is_an_error():
    with pytest.raises(SpecError, match="no number of episodes"):
        episodes_needed(0.9, budget=100.0, sigma=1.0)
