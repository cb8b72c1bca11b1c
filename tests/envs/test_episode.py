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


def played(env, steps, last_is_nan=False):
    """States and transitions [step, episode] under random actions."""
    step = jax.jit(jax.vmap(env.step))
    states = [jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), COUNT))]
    transitions = []
    for number, key in enumerate(jax.random.split(jax.random.key(1), steps), start=1):
        actions = some_actions(env, key)
        if last_is_nan and number == steps:
            actions = actions * jnp.nan
        state, transition = step(states[-1], actions)
        states.append(state)
        transitions.append(transition)
    return stacked(states), stacked(transitions)


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def at(tree, *place):
    return jax.tree.map(lambda leaf: leaf[place], tree)


def assert_over(states, transitions, since):
    """From the state `since` on, all episodes have ended: nothing moves, nothing is earned or reported."""
    assert states.ended[since].all()
    first = at(states, since)
    for later in range(since + 1, len(states.time)):
        jax.tree.map(np.testing.assert_array_equal, at(states, later), first)
    after = at(transitions, slice(since, None))
    assert not (after.terminated.any() or after.truncated.any() or after.failed.any())
    np.testing.assert_array_equal(after.reward, 0.0)
    for shown in after.observation:
        np.testing.assert_array_equal(shown, first.observation)


@pytest.mark.parametrize("task", QUICK)
def test_after_its_horizon_it_stays(task):
    env = make(task, horizon=2)
    states, transitions = played(env, 4, last_is_nan=not env.action_space.discrete)
    assert_over(states, transitions, since=2)
    assert not states.ended[0].any()
    ended_early = transitions.terminated[:2].any(axis=0)
    np.testing.assert_array_equal(transitions.truncated[1], ~ended_early)
    np.testing.assert_array_equal(states.time[-1][~ended_early], 2)


@pytest.mark.parametrize("task", ["probe/categorical", "probe/chain", "hopper"])
def test_after_the_tasks_own_end_it_stays(task):
    states, transitions = played(make(task, horizon=500), 80)
    ended = np.asarray(transitions.terminated)
    assert ended.any(), "no episode ended"
    for episode in np.flatnonzero(ended.any(axis=0)):
        (last,) = np.flatnonzero(ended[:, episode])
        alone = at((states, transitions), slice(None), slice(episode, episode + 1))
        assert_over(*alone, since=last + 1)
        assert states.time[-1, episode] == last + 1
        assert not states.ended[: last + 1, episode].any()


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
    env = make(task, horizon=2)
    space = env.action_space
    agent = agents.init(
        jax.random.key(3), env.observation_size, space.size, discrete=space.discrete, hidden=(4,)
    )
    world = adversary_environment(env, Victim(agent), Ball(0.1), ATTACKS["sa-rl"].rule())
    states, transitions = played(world, 4)
    behind = states.physics.state
    assert_over(states.replace(physics=behind), transitions, since=2)
    np.testing.assert_array_equal(behind.ended, states.ended)
