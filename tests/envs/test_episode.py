"""An episode that has ended stays where it is and earns nothing, whatever ended it and whatever is done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.attacks import ATTACKS, Victim
from jaxprune.budget import Ball
from jaxprune.envs import make, tasks
from jaxprune.policy import agent as agents
from jaxprune.training.adversary import adversary_environment

QUICK = [task for task in tasks() if not task.startswith("brax/")]
COUNT = 4


def some_actions(env, key):
    space = env.action_space
    if space.discrete:
        return jax.random.randint(key, (COUNT,), 0, space.size)
    return jax.random.normal(key, (COUNT, space.size))


def adversary_of(env):
    agent = agents.init(jax.random.key(3), env.observation_size, env.action_space.size, hidden=(4,))
    if env.action_space.discrete:
        agent = agent.replace(log_std=None)
    return adversary_environment(env, Victim(agent), Ball(0.1), ATTACKS["sa-rl"].rule())


def played(env, steps, broken=False):
    """States and transitions [step, episode] under random actions, the last NaN if `broken`."""
    step = jax.jit(jax.vmap(env.step))
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), COUNT))
    states, transitions = [state], []
    for key in jax.random.split(jax.random.key(1), steps):
        actions = some_actions(env, key)
        if broken and len(states) == steps:
            actions = actions * jnp.nan
        state, transition = step(state, actions)
        states.append(state)
        transitions.append(transition)
    return (
        jax.tree.map(lambda *leaves: np.stack(leaves), *map(_bits, kind)) for kind in (states, transitions)
    )


def _bits(tree):
    return jax.tree.map(
        lambda leaf: (
            jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        ),
        tree,
    )


def assert_over(states, transitions, since):
    """From the state `since` on, all episodes have ended: nothing moves, nothing is earned or reported."""
    assert states.ended[since].all()
    first = jax.tree.map(lambda leaf: leaf[since], states)
    for later in range(since + 1, len(states.time)):
        for one, other in zip(
            jax.tree.leaves(first),
            jax.tree.leaves(jax.tree.map(lambda leaf, t=later: leaf[t], states)),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)
    after = jax.tree.map(lambda leaf: leaf[since:], transitions)
    assert not (after.terminated.any() or after.truncated.any() or after.failed.any())
    np.testing.assert_array_equal(after.reward, 0.0)
    for shown in after.observation:
        np.testing.assert_array_equal(shown, first.observation)


@pytest.mark.parametrize("task", QUICK)
def test_after_its_horizon_it_stays(task):
    states, transitions = played(make(task, horizon=2), 4, broken=not make(task).action_space.discrete)
    assert_over(states, transitions, since=2)
    assert not states.ended[0].any()
    ended_early = transitions.terminated[:2].any(axis=0)
    np.testing.assert_array_equal(transitions.truncated[1], ~ended_early)
    np.testing.assert_array_equal(states.time[-1][~ended_early], 2)


@pytest.mark.parametrize("task", ["probe/categorical", "probe/chain", "hopper"])
def test_after_the_tasks_own_end_it_stays(task):
    env = make(task, horizon=500)
    states, transitions = played(env, 80)
    ends = transitions.terminated.argmax(axis=0)
    assert (transitions.terminated.sum(axis=0) == 1).any(), "no episode ended"
    for episode in np.flatnonzero(transitions.terminated.any(axis=0)):
        mine = jax.tree.map(lambda leaf, e=episode: leaf[:, e : e + 1], (states, transitions))
        assert_over(*mine, since=ends[episode] + 1)
        assert states.time[-1, episode] == ends[episode] + 1
        assert states.ended[: ends[episode] + 1, episode].sum() == 0


def test_after_a_failure_it_stays():
    env = make("probe/linear")
    state = env.reset(jax.random.key(0))
    failed, transition = env.step(state, jnp.asarray([jnp.nan]))
    assert transition.failed and failed.ended
    again, nothing = env.step(failed, jnp.asarray([0.5]))
    jax.tree.map(np.testing.assert_array_equal, again, failed)
    assert nothing.reward == 0.0 and not nothing.failed and not nothing.terminated


@pytest.mark.parametrize("task", ["probe/linear", "probe/categorical"])
def test_in_an_adversarys_world_it_stays(task):
    states, transitions = played(adversary_of(make(task, horizon=2)), 4)
    behind = states.physics.state
    assert_over(states.replace(physics=behind), transitions, since=2)
    np.testing.assert_array_equal(behind.ended, states.ended)
