"""`gymnax/NAME` takes the steps that gymnax takes, where it is installed, and is told of where it is not."""

import subprocess
import sys
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import SpecError, SweepSpec, envs
from jaxprune.envs import suite

installed = pytest.mark.skipif(
    not (find_spec("gymnax") and find_spec("six")),
    reason="gymnax is not installed: pip install -e '.[suite]'",
)


def test_it_is_not_imported_with_the_library():
    program = "import sys, jaxprune; print('gymnax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "gymnax/CartPole-v1",
            r"gymnax/CartPole-v1 is of the package gymnax: pip install 'jaxprune.suite.'",
        ),
        ("gymnax/CartPole", r"env: unknown name 'gymnax/CartPole'; did you mean 'gymnax/CartPole-v1'\?"),
    ],
)
def test_without_the_package_it_is_said_where_it_is(name, message, monkeypatch):
    monkeypatch.setattr("jaxprune.envs.suite.find_spec", lambda package: None)
    assert not list(suite.tasks())
    for listed in suite.HORIZONS:
        monkeypatch.delitem(envs.TASKS, f"gymnax/{listed}", raising=False)
    with pytest.raises(SpecError, match=message):
        SweepSpec(env=name)


QUICK = ("CartPole-v1", "UmbrellaChain-bsuite", "Catch-bsuite")


@installed
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in suite.HORIZONS]
)
def test_steps_are_those_of_gymnax(name):
    """Of the same keys and actions, from reset to the end of an episode or for thirty steps."""
    import gymnax

    theirs, numbers = gymnax.make(name)
    env = envs.make(f"gymnax/{name}")
    space = theirs.action_space(numbers)
    assert (env.horizon, env.action_space.size) == (numbers.max_steps_in_episode, space.n)
    assert env.action_space.discrete
    step, their_step = jax.jit(env.step), jax.jit(theirs.step_env)
    state = jax.jit(env.reset)(jax.random.key(5))
    types = jax.tree.map(lambda leaf: leaf.dtype, state)
    assert state.observation.shape == (env.observation_size,)
    later, now = jax.random.split(jax.random.key(5))
    observation, their_state = theirs.reset(now, numbers)
    np.testing.assert_array_equal(state.observation, np.ravel(observation))
    for time, action in enumerate(np.random.default_rng(0).integers(0, space.n, 30)):
        later, now = jax.random.split(later)
        state, transition = step(state, jnp.int32(action))
        taken = their_step(now, their_state, jnp.int32(action), numbers)
        observation, their_state, reward, terminated, _ = taken
        np.testing.assert_allclose(transition.observation, np.ravel(observation), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(transition.reward, reward, rtol=1e-6)
        assert transition.terminated == terminated
        assert state.time == time + 1
        assert jax.tree.map(lambda leaf: leaf.dtype, state) == types
        if terminated:
            break
    assert not transition.failed


def test_a_package_that_cannot_be_imported_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax", None)
    with pytest.raises(
        SpecError, match=r"env: gymnax/CartPole-v1: gymnax cannot be imported \(.*; pip install"
    ):
        suite.environment("CartPole-v1", 5)


@installed
def test_an_episode_is_truncated_by_its_horizon_alone():
    env = envs.make("gymnax/MountainCar-v0", horizon=3)
    state = env.reset(jax.random.key(0))
    for time in range(3):
        state, transition = jax.jit(env.step)(state, jnp.int32(1))
        assert transition.truncated == (time == 2)
