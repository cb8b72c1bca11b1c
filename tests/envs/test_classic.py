"""The discrete control problems, against Gymnasium's own, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from jaxprune.envs import make

SCALES = {"cartpole": (3.0, 2.0, 0.3, 2.0), "acrobot": (3.0, 3.0, 9.0, 20.0)}


@pytest.mark.parametrize(
    ("task", "theirs"), [("cartpole", CartPoleEnv()), ("acrobot", AcrobotEnv())], ids=str
)
def test_a_step_is_gymnasiums(task, theirs):
    env, rng = make(task), np.random.default_rng(0)
    states = rng.uniform(-1, 1, (300, 4)).astype(np.float32) * np.float32(SCALES[task])
    actions = rng.integers(env.action_space.size, size=300)
    start = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 300)).replace(physics=jnp.asarray(states))
    after, transition = jax.jit(jax.vmap(env.step))(start, jnp.asarray(actions))
    ended = set()
    for i, (state, action) in enumerate(zip(states, actions, strict=True)):
        theirs.reset(seed=0)
        theirs.state = state.astype(np.float64)
        observation, reward, terminated, truncated, _ = theirs.step(int(action))
        np.testing.assert_allclose(transition.observation[i], observation, rtol=1e-4, atol=2e-4)
        assert (float(transition.reward[i]), bool(transition.terminated[i])) == (reward, terminated)
        assert not truncated and not transition.failed[i]
        ended.add(terminated)
    assert ended == {True, False}
    np.testing.assert_array_equal(after.ended, transition.terminated)


@pytest.mark.parametrize(("task", "within"), [("cartpole", 0.05), ("acrobot", 0.1)])
def test_episodes_start_near_rest_and_end_in_time(task, within):
    env = make(task, horizon=3)
    first = jax.vmap(env.reset)(jax.random.split(jax.random.key(1), 500))
    assert within * 0.98 < float(jnp.abs(first.physics).max()) <= within
    state = jax.tree.map(lambda leaf: leaf[0], first)
    for truncated in (False, False, True):
        state, transition = env.step(state, jnp.asarray(0))
        assert bool(transition.truncated) == truncated and not transition.terminated


def test_a_lazy_controller_balances_the_pole():
    """Pushing to the side to which the pole is about to fall keeps it up for the whole 500 steps."""
    env = make("cartpole")

    def step(state, _):
        x, speed, angle, turning = state.physics
        push = angle + 0.5 * turning + 0.05 * (0.1 * x + speed) > 0
        state, transition = env.step(state, push.astype(jnp.int32))
        return state, transition.reward

    rewards = jax.lax.scan(step, env.reset(jax.random.key(2)), None, 500)[1]
    assert float(rewards.sum()) == 500
