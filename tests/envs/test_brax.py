"""Brax's environments behind our interface. Building and compiling them takes its time."""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import brax as ours
from jaxprune.envs import make, physics_names, step_or_reset


def check(task, physics):
    """An episode of two steps: sizes, truncation, the true final observation, a fresh reset, a failure, and
    a step after the end.
    """
    env = make(task, physics, horizon=2)
    reset, step = jax.jit(env.reset), jax.jit(lambda *inputs: step_or_reset(env, *inputs))
    env_step = jax.jit(env.step)
    state = reset(jax.random.key(0))
    action = jnp.full(env.action_space.size, 0.1)
    state, first = step(state, action, jax.random.key(1))
    fresh, last = step(state, action, jax.random.key(2))
    assert first.observation.shape == (env.observation_size,)
    assert not first.truncated and last.truncated and not last.terminated
    assert not np.allclose(last.observation, fresh.observation)
    np.testing.assert_allclose(fresh.observation, reset(jax.random.key(2)).observation, atol=1e-5)
    over, _ = env_step(state, action)
    assert over.ended and not state.ended
    after, nothing = env_step(over, -action)
    jax.tree.map(np.testing.assert_array_equal, after, over)
    assert nothing.reward == 0.0 and not nothing.truncated and not nothing.terminated
    _, failure = step(state, action * jnp.nan, jax.random.key(2))
    assert failure.failed and failure.terminated and failure.reward == 0.0
    np.testing.assert_array_equal(failure.observation, state.observation)


class Counted(NamedTuple):
    """What a Brax environment of one number hands on."""

    obs: jax.Array
    reward: jax.Array
    done: jax.Array

    @property
    def pipeline_state(self):
        return SimpleNamespace(q=self.obs, qd=self.obs)


class Counting:
    """The number grows by the action, which is earned ten times; above 2 the episode is done."""

    action_size = 1

    def reset(self, key):
        return Counted(jnp.zeros(1), jnp.zeros(()), jnp.zeros(()))

    def step(self, state, action):
        number = state.obs + action
        return Counted(number, 10 * action[0], (number[0] > 2).astype(jnp.float32))


@pytest.mark.filterwarnings("ignore")  # Brax's own, at its import
def test_rewards_and_ends_are_those_of_the_step_and_actions_are_clipped(monkeypatch):
    monkeypatch.setattr("brax.envs.get_environment", lambda name, backend: Counting())
    env = ours.environment("counting", "brax-spring", horizon=4)
    state, seen = env.reset(jax.random.key(0)), []
    for action in (0.5, 3.0, 1.0):
        state, transition = env.step(state, jnp.full(1, action))
        seen.append((float(state.observation[0]), float(transition.reward), bool(transition.terminated)))
    assert seen == [(0.5, 5.0, False), (1.5, 10.0, False), (2.5, 10.0, True)]
    assert not transition.truncated


def test_inverted_pendulum_under_spring():
    check("brax/inverted_pendulum", "brax-spring")


@pytest.mark.slow
@pytest.mark.parametrize("physics", physics_names("brax/hopper"))
def test_hopper_under_every_physics(physics):
    check("brax/hopper", physics)
