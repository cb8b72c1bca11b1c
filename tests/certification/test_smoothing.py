"""Policy smoothing of a population: the noise, the limits, and what is refused beforehand."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprune as jp
from jaxprune import bounds, envs
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.certification.smoothing import (
    LIKELY,
    Noise,
    SmoothingSpec,
    certify_returns,
    episode_budget,
    lowest_return,
)
from jaxprune.policy import agent as agents
from jaxprune.population import Members

KEY = jax.random.key(0)


def unheard(tally, steps):
    """Nobody asks for the progress."""


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
    members = Members(np.array([0, 1]), np.array([0.0, 0.0]), np.array(["ppo"] * 2))
    arguments = (envs.make("probe/linear"), victims(2), members)
    keys = jax.random.split(KEY, 2)
    table = certify_returns(spec, *arguments, keys, np.array([0.0, 40.0]), 0.9, 1.5, unheard)
    quiet = SmoothingSpec(smoothing_sigma=1e-6, smoothing_budget=0.0, smoothing_episodes=12)
    clean = certify_returns(quiet, *arguments, keys, np.array([0.0, 0.0]), 0.9, 1.5, unheard)
    assert table["return_mean"].n_unique() == 2
    assert (table["return_mean"] != clean["return_mean"]).all()
    assert (table["certified_mean_max_lowest"] < table["return_mean"]).all()
    # No reward is negative, so no return is below 0.
    assert table["mean_max_lowest"].to_list() == table["return_mean"].to_list()
    assert table["lowest"].to_list() == table["share_below_lowest"].to_list() == [0.0, 0.0]
    # All episodes reach 0 and none reaches 40, more than one per step. Four limits hold together.
    all_of_them = bounds.certified_return_probability(
        np.zeros(12), 0.0, budget=0.5, sigma=1.0, confidence=1 - 0.1 / 4
    )
    assert table["certified_probability"].to_list() == [pytest.approx(all_of_them), 0.0]
    assert table["confidence"].to_list() == [0.9, 0.9] and table["simultaneous"].to_list() == [4, 4]
    assert table["audited_budget"].to_list() == [1.5, 1.5]
    assert table["audited_over_budget"].to_list() == [3.0, 3.0]
    assert clean["audited_over_budget"].to_list() == [None, None]


def test_returns_below_the_lowest_count_as_it_and_are_reported():
    arguments = (
        envs.make("probe/linear"),
        victims(1),
        Members(np.array([0]), np.array([0.0]), np.array(["ppo"])),
    )
    keys = jax.random.split(KEY, 1)
    settings = {"smoothing_sigma": 1.0, "smoothing_budget": 0.5, "smoothing_episodes": 40}
    free = certify_returns(SmoothingSpec(**settings), *arguments, keys, np.zeros(1), 0.9, 1.5, unheard)
    middle = free["return_mean"][0]
    spec = SmoothingSpec(**settings, smoothing_lowest=middle)
    row = certify_returns(spec, *arguments, keys, np.zeros(1), 0.9, 1.5, unheard).row(0, named=True)
    assert 0 < row["share_below_lowest"] < 1
    assert row["return_mean"] == middle < row["mean_max_lowest"]
    # Nothing can take max(R, lowest) below lowest.
    assert row["lowest"] == middle <= row["certified_mean_max_lowest"] < row["mean_max_lowest"]
    high = SmoothingSpec(**settings, smoothing_lowest=40.0)
    row = certify_returns(high, *arguments, keys, np.zeros(1), 0.9, 1.5, unheard).row(0, named=True)
    assert row["share_below_lowest"] == 1.0
    assert row["certified_mean_max_lowest"] == row["mean_max_lowest"] == 40.0


def test_too_few_episodes_are_refused_with_the_number_needed():
    adversary = {"smoothing_sigma": 0.2, "smoothing_budget": 0.2}
    needed = bounds.episodes_needed(LIKELY, budget=0.2, sigma=0.2, confidence=1 - 0.05 / 6)
    assert needed > bounds.episodes_needed(LIKELY, budget=0.2, sigma=0.2, confidence=0.95)
    SmoothingSpec(**adversary, smoothing_episodes=needed).check(0.95, members=3)
    with pytest.raises(jp.SpecError, match=f"for 3 members together; at least {needed} are needed"):
        SmoothingSpec(**adversary, smoothing_episodes=needed - 1).check(0.95, members=3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("smoothing_sigma", 0.0),
        ("smoothing_sigma", math.inf),
        ("smoothing_budget", -1.0),
        ("smoothing_budget", math.nan),
        ("smoothing_lowest", math.nan),
        ("smoothing_votes", 0),
    ],
)
def test_a_number_that_certifies_nothing_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(jp.SpecError, match=f"^{field}: {value:g} must be"):
        SmoothingSpec(**{field: value})


@pytest.mark.parametrize(("actions", "needed"), [(2, 7), (17, 10)])
def test_too_few_votes_are_refused_with_the_number_that_so_many_actions_need(actions, needed):
    # n votes of n certify a radius if (0.05 / (2 actions))^(1 / n) > 1 / 2.
    assert 2 ** (needed - 1) < 2 * actions / 0.05 < 2**needed
    adversary = {"smoothing_sigma": 0.2, "smoothing_budget": 0.0}
    SmoothingSpec(**adversary, smoothing_votes=needed).check(0.95, members=1, votes_for=actions)
    few = SmoothingSpec(**adversary, smoothing_votes=needed - 1)
    with pytest.raises(jp.SpecError, match=rf"got {needed - 1} votes, .* needs at least {needed}"):
        few.check(0.95, members=1, votes_for=actions)
    few.check(0.95, members=1)  # a Gaussian policy has nothing to vote on


def test_all_limits_of_all_members_hold_together():
    spec = SmoothingSpec(smoothing_sigma=0.2)
    assert spec.adversary(0.95, members=1)["confidence"] == pytest.approx(0.975)
    assert spec.adversary(0.95, members=10)["confidence"] == pytest.approx(0.9975)


def test_zero_is_lowest_where_the_task_bounds_no_reward():
    assert lowest_return(envs.make("probe/linear")) == 0.0
    assert lowest_return(envs.make("hopper")) == 0.0
    costly = dataclasses.replace(envs.make("probe/linear"), reward_range=(-2.0, 1.0))
    assert lowest_return(costly) == -2.0 * 32


def test_the_audited_ball_at_every_step_is_a_budget_of_the_episode():
    env = envs.make("probe/linear")  # 4 features, 32 steps
    assert episode_budget(0.1, "linf", env) == pytest.approx(0.1 * 2 * np.sqrt(32))
    assert episode_budget(0.1, "l2", env) == pytest.approx(0.1 * np.sqrt(32))
