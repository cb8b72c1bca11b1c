"""Policy smoothing of a population: the noise, the limits, and what is refused beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprune as jp
from jaxprune import certify, envs
from jaxprune.attacks import Ball, Victim
from jaxprune.audit.smoothing import LIKELY, Noise, SmoothingSpec, certify_returns, lowest_return
from jaxprune.outcome import Members
from jaxprune.policy import agent as agents

KEY = jax.random.key(0)


def victims(count):
    agent = agents.init(KEY, 4, 1, hidden=(2,))
    return Victim(jax.tree.map(lambda leaf: jnp.stack([leaf] * count), agent))


def test_the_noise_is_gaussian_and_cut_to_no_ball():
    draw = jax.vmap(lambda key: Noise(2.0).perturb(key, victims(1), jnp.ones(3), Ball(0.1), ())[0])
    shown = draw(jax.random.split(KEY, 20_000))
    np.testing.assert_allclose(shown.mean(0), 1.0, atol=0.06)
    np.testing.assert_allclose(shown.std(0), 2.0, rtol=0.03)
    # 4.6 % of a Gaussian lies beyond two standard deviations.
    np.testing.assert_allclose(jnp.mean(jnp.abs(shown - 1) > 4), 0.0455, atol=0.006)


def test_the_limits_are_those_of_each_members_own_smoothed_returns():
    spec = SmoothingSpec(smoothing_sigma=1.0, smoothing_budget=0.5, smoothing_episodes=12)
    members = Members(np.array([0, 1]), np.array([0.0, 0.0]))
    arguments = (envs.make("probe/linear"), victims(2), members)
    keys = jax.random.split(KEY, 2)
    table = certify_returns(spec, *arguments, keys, np.array([0.0, 40.0]), 0.9)
    quiet = SmoothingSpec(smoothing_sigma=1e-6, smoothing_budget=0.0, smoothing_episodes=12)
    clean = certify_returns(quiet, *arguments, keys, np.array([0.0, 0.0]), 0.9)
    assert table["return_mean"].n_unique() == 2
    assert (table["return_mean"] != clean["return_mean"]).all()
    assert (table["certified_mean"] < table["return_mean"]).all()
    # All episodes reach 0 and none reaches 40, more than one per step.
    all_of_them = certify.certified_return_probability(
        np.zeros(12), 0.0, budget=0.5, sigma=1.0, confidence=0.9
    )
    assert table["certified_probability"].to_list() == [pytest.approx(all_of_them), 0.0]


def test_too_few_episodes_are_refused_with_the_number_needed():
    adversary = {"smoothing_sigma": 0.2, "smoothing_budget": 0.2}
    needed = certify.episodes_needed(LIKELY, budget=0.2, sigma=0.2, confidence=0.95)
    SmoothingSpec(**adversary, smoothing_episodes=needed).check(0.95)
    with pytest.raises(jp.SpecError, match=f"at least {needed} are needed"):
        SmoothingSpec(**adversary, smoothing_episodes=needed - 1).check(0.95)


def test_too_few_votes_are_refused_with_the_number_needed():
    with pytest.raises(jp.SpecError, match=r"got 6 votes, .* needs at least 7"):
        SmoothingSpec(smoothing_sigma=0.2, smoothing_budget=0.0, smoothing_votes=6).check(0.95)


def test_no_return_is_lowest_where_the_task_bounds_no_reward():
    assert lowest_return(envs.make("probe/linear")) == 0.0
    assert lowest_return(envs.make("hopper")) is None
