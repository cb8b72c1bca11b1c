"""Names, mistakes in names, and the properties every environment has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make, physics_names, tasks
from jaxprune.errors import SpecError
from jaxprune.spec import SweepSpec

QUICK = [task for task in tasks() if not task.startswith(("brax/", "gymnax/"))]


def test_names_are_distinct_and_each_has_a_physics():
    assert len(set(tasks())) == len(tasks())
    assert all(physics_names(task) for task in tasks())


@pytest.mark.parametrize(
    ("task", "physics", "message"),
    [
        ("hoper", "auto", r"task: unknown name 'hoper'; did you mean 'hopper'\?"),
        ("brax/hoper", "auto", r"did you mean 'brax/hopper'\?"),
        ("hopper", "natve", r"physics of hopper: unknown name 'natve'; did you mean 'native'\?"),
        ("hopper", "brax-spring", r"Known: auto, mjx, mjx-warp, native$"),
        ("brax/swimmer", "brax-spring", r"Known: auto, brax-generalized$"),
        ("probe/linear", "native", r"Known: auto, none$"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(task, physics, message):
    with pytest.raises(SpecError, match=message):
        make(task, physics)


def test_a_horizon_is_positive():
    with pytest.raises(SpecError, match="horizon: 0 steps"):
        make("hopper", horizon=0)


@pytest.mark.parametrize(
    ("task", "charge", "message"),
    [
        ("hopper", "row", r"charge: unknown name 'row'; did you mean 'raw'\? Known: clipped, raw$"),
        ("probe/linear", "raw", r"charge: 'raw' is for Gymnasium's .* probe/linear allows only 'clipped'$"),
        ("probe/chain", "raw", "allows only 'clipped'"),
        ("brax/hopper", "raw", "brax/hopper allows only 'clipped'"),
        ("inverted_pendulum", "raw", "inverted_pendulum allows only 'clipped'"),
    ],
)
def test_a_charge_that_makes_no_sense_is_refused(task, charge, message):
    with pytest.raises(SpecError, match=message):
        make(task, charge=charge)
    with pytest.raises(SpecError, match=message):
        SweepSpec(env=task, charge=charge)


def test_an_environment_says_its_charge():
    assert make("hopper").charge == make("probe/linear").charge == "clipped"
    assert make("hopper", charge="raw").charge == SweepSpec(charge="raw").charge == "raw"


# what is known of each; physics can fail under finite actions, so every body's episode can end early
NEVER_ENDS_EARLY = {"probe/linear", "probe/tabular"}


@pytest.mark.parametrize("task", QUICK)
def test_terminates_says_whether_an_episode_can_end_early(task):
    assert make(task).terminates == (task not in NEVER_ENDS_EARLY)


@pytest.mark.parametrize("task", [task for task in QUICK if task.startswith("probe/")])
def test_random_actions_end_the_episodes_that_can_end(task):
    env = make(task, horizon=8)
    space = env.action_space

    def episode(key):
        def step(state, key):
            action = (
                jax.random.randint(key, (), 0, space.size)
                if space.discrete
                else 3.0 * jax.random.normal(key, (space.size,))
            )
            state, transition = env.step(state, action)
            return state, transition.terminated

        start, *keys = jax.random.split(key, 9)
        return jax.lax.scan(step, env.reset(start), jnp.stack(keys))[1].any()

    ended = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 200))
    assert ended.any() == env.terminates


def test_auto_is_native_on_a_cpu_and_environments_are_made_once():
    assert make("hopper").physics == "native"
    assert make("hopper") is make("hopper", "native")
    assert make("hopper", horizon=5) is not make("hopper")


@pytest.mark.parametrize("task", QUICK)
def test_sizes_types_and_reward_range_are_as_declared(task):
    env = make(task)
    state = env.reset(jax.random.key(0))
    action = jnp.zeros((), jnp.int32) if env.action_space.discrete else jnp.zeros(env.action_space.size)
    stepped, transition = jax.jit(env.step)(state, action)
    assert state.observation.shape == transition.observation.shape == (env.observation_size,)
    assert [leaf.dtype for leaf in jax.tree.leaves(stepped)] == [
        leaf.dtype for leaf in jax.tree.leaves(state)
    ]
    assert transition.reward.dtype == transition.observation.dtype == jnp.float32
    assert not transition.failed
    low, high = env.reward_range or (-np.inf, np.inf)
    assert low <= transition.reward <= high
