"""Experience is recorded as it happened: true final observations, whole episodes, reproducible draws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxprune.envs import ActionSpace, Environment
from jaxprune.envs.episode import begin, proceed
from jaxprune.policy import Normalizer
from jaxprune.policy import agent as agents
from jaxprune.training.rollout import rollout, start

ENVIRONMENTS, STEPS = 3, 11


def counting(horizon, terminal):
    """Episodes numbered at random; observation (number, steps so far), reward 10 + steps so far.

    They end by truncation after `horizon` steps, and terminate where an even number reaches `terminal` steps.
    """

    def observe(number, steps):
        return jnp.stack([number, steps.astype(jnp.float32)])

    def reset(key):
        number = jax.random.randint(key, (), 0, 1000).astype(jnp.float32)
        return begin(number, observe(number, jnp.int32(0)))

    def step(state, action):
        steps = state.time + 1
        return proceed(
            state,
            state.physics,
            observation=observe(state.physics, steps),
            reward=10.0 + steps,
            terminated=(steps >= terminal) & (state.physics % 2 == 0),
            horizon=horizon,
        )

    return Environment("counting", "none", 2, ActionSpace(2), horizon, reset, step)


ENV = counting(horizon=4, terminal=3)


def acted(agent, workers, key):
    return jax.jit(partial(rollout, ENV, length=STEPS))(agent, workers, key)


@pytest.fixture(name="agent", scope="module")
def _agent():
    agent = agents.init(jax.random.key(5), 2, 2, hidden=(4,))
    wide = Normalizer(jnp.asarray([500.0, 2.0]), jnp.asarray([9e4, 2.0]), jnp.float32(10.0))
    return agent.replace(log_std=jnp.asarray([-1.0, 0.5]), normalizer=wide)


@pytest.fixture(name="workers", scope="module")
def _workers():
    return start(ENV, jax.random.key(0), ENVIRONMENTS)


@pytest.fixture(name="experience", scope="module")
def _experience(agent, workers):
    return acted(agent, workers, jax.random.key(1))


@pytest.fixture(name="trajectory", scope="module")
def _trajectory(experience):
    return jax.tree.map(np.asarray, experience[1])


@pytest.fixture(name="finished", scope="module")
def _finished(experience):
    return np.asarray(experience[1].finished)


def test_episodes_end_at_the_horizon_or_where_they_terminate(trajectory):
    even, steps = trajectory.observation[..., 0] % 2 == 0, trajectory.observation[..., 1]
    np.testing.assert_array_equal(trajectory.terminated, even & (steps == 2))
    np.testing.assert_array_equal(trajectory.truncated, ~even & (steps == 3))
    assert trajectory.terminated.any()
    assert trajectory.truncated.any()


def test_the_true_final_observation_is_recorded_before_the_reset(trajectory):
    wanted = trajectory.observation + np.array([0.0, 1.0])
    np.testing.assert_array_equal(trajectory.next_observation, wanted)


def test_an_episode_goes_on_from_where_the_last_step_led(trajectory, finished):
    on = ~finished[:-1]
    np.testing.assert_array_equal(trajectory.observation[1:][on], trajectory.next_observation[:-1][on])


def test_after_an_end_a_fresh_episode_starts(trajectory, finished):
    ended = finished[:-1]
    after, before = trajectory.observation[1:][ended], trajectory.observation[:-1][ended]
    assert np.all(after[:, 1] == 0)
    assert np.all(after[:, 0] != before[:, 0])


def test_every_environment_starts_its_own_episodes(trajectory):
    numbers = [frozenset(trajectory.observation[:, i, 0]) for i in range(ENVIRONMENTS)]
    assert len(frozenset.union(*numbers)) == sum(map(len, numbers))


def test_length_and_return_of_a_finished_episode_are_its_steps_and_rewards(trajectory, finished):
    length = trajectory.next_observation[..., 1]
    np.testing.assert_array_equal(trajectory.episode_length[finished], length[finished])
    wanted = 10 * length + length * (length + 1) / 2
    np.testing.assert_array_equal(trajectory.episode_return[finished], wanted[finished])


def test_an_episode_goes_on_from_one_rollout_to_the_next(agent, experience, trajectory, finished):
    workers, _ = experience
    open_ended = ~finished[-1]
    assert open_ended.any()
    later = jax.tree.map(np.asarray, acted(agent, workers, jax.random.key(2))[1])
    np.testing.assert_array_equal(
        later.observation[0][open_ended], trajectory.next_observation[-1][open_ended]
    )
    np.testing.assert_array_equal(
        later.episode_return[0], np.where(open_ended, trajectory.episode_return[-1], 0) + later.reward[0]
    )
    np.testing.assert_array_equal(
        later.episode_length[0], np.where(open_ended, trajectory.episode_length[-1], 0) + 1
    )


def test_the_recorded_log_prob_is_that_of_the_action(agent, trajectory):
    x = (trajectory.observation - np.asarray(agent.normalizer.mean)) / np.sqrt(agent.normalizer.variance)
    mean = jax.vmap(jax.vmap(agent.output))(jnp.asarray(x, jnp.float32))
    wanted = stats.norm.logpdf(trajectory.action, mean, np.exp(agent.log_std)).sum(-1)
    np.testing.assert_allclose(trajectory.log_prob, wanted, rtol=1e-4, atol=1e-4)


def test_no_two_actions_are_the_same_draw(trajectory):
    assert len(np.unique(trajectory.action)) == trajectory.action.size


def test_the_same_key_gives_the_same_experience(agent, workers, experience):
    again = acted(agent, workers, jax.random.key(1))
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(experience), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_key_gives_other_actions_and_other_resets(agent, workers, trajectory):
    _, other = acted(agent, workers, jax.random.key(3))
    assert not np.any(other.action == trajectory.action)
    np.testing.assert_array_equal(other.observation[0], trajectory.observation[0])
    assert not np.any(other.observation[-1, :, 0] == trajectory.observation[-1, :, 0])
