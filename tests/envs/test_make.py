"""Names, mistakes in names, and the properties every environment has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make, physics_names, tasks
from jaxprune.errors import SpecError

QUICK = [task for task in tasks() if not task.startswith("brax/")]


def test_names_are_distinct_and_each_has_a_physics():
    assert len(set(tasks())) == len(tasks())
    assert all(physics_names(task) for task in tasks())


@pytest.mark.parametrize(
    ("task", "physics", "message"),
    [
        ("hoper", "auto", r"task: unknown name 'hoper'; did you mean 'hopper'\?"),
        ("brax/hoper", "auto", r"did you mean 'brax/hopper'\?"),
        ("hopper", "natve", r"physics of hopper: unknown name 'natve'; did you mean 'native'\?"),
        ("hopper", "brax-spring", r"Known: auto, mjx, native$"),
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
