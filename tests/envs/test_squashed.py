"""Actions squashed by tanh: the task behind, and what a bound on u says of the action."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import envs
from jaxprune.envs import squash
from jaxprune.errors import SpecError


def test_a_step_is_that_of_the_squashed_action():
    env = envs.make("probe/linear")
    tanh = envs.squashed(env)
    assert tanh is envs.squashed(env)
    assert "squashed by tanh" in tanh.in_words()
    assert "tanh" not in env.in_words()
    state, u = env.reset(jax.random.key(0)), jnp.array([0.7])
    one, other = tanh.step(state, u), env.step(state, jnp.tanh(u))
    # The range of the task is [-1, 1], where the squash is tanh up to rounding.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)


def test_the_range_is_the_tasks():
    env = replace(envs.make("probe/linear"), action_space=envs.ActionSpace(1, low=-0.4, high=0.2))
    state, u = env.reset(jax.random.key(0)), jnp.array([0.7])
    one, other = envs.squashed(env).step(state, u), env.step(state, -0.1 + 0.3 * jnp.tanh(u))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)


def test_the_ends_and_the_middle():
    found = squash(jnp.array([-50.0, 0.0, 50.0, np.log(3.0) / 2]), -0.4, 2.0)
    np.testing.assert_allclose(found, [-0.4, 0.8, 2.0, 0.8 + 1.2 * 0.5], rtol=1e-6)


@pytest.mark.parametrize("half", [0.4, 1.0, 5.0])
def test_the_action_moves_no_farther_than_u_in_halves_of_the_range(half):
    u, v = np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32) * [[3.0], [0.3]]
    v = (u + v).astype(np.float32)
    moved = np.abs(squash(jnp.asarray(u, jnp.float32), -half, half) - squash(jnp.asarray(v), -half, half))
    assert np.all(moved <= half * (np.abs(u - v) + 4 * np.finfo(np.float32).eps))
    assert np.any(moved > 0.9 * half * np.abs(u - v))  # near 0 the slope is 1


def test_discrete_actions_are_refused():
    with pytest.raises(SpecError, match="cartpole has discrete actions"):
        envs.squashed(envs.make("cartpole"))
