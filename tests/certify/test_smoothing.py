"""Smoothing against probes whose worst case is known in closed form."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from jaxprune.certify import (
    certified_action,
    certified_mean_return,
    certified_return_probability,
    episodes_needed,
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


def test_certified_action_radius_is_below_the_true_one():
    """Votes of a linear rule: the best action changes exactly at distance 0.4."""
    rng = np.random.default_rng(2)
    votes = np.eye(2)[(rng.normal(0.4, SIGMA, size=50_000) < 0).astype(int)]
    certified = certified_action(votes, low=0.0, high=1.0, sigma=SIGMA, confidence=0.999)
    assert certified.action == 0
    assert 0.37 < certified.radius <= 0.4


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
        ({"lowest": 2.0}, "lowest: got 2.0"),
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
