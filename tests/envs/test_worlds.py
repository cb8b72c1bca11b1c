"""A function of one world is told how many there are, and the worlds do not mix."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make
from jaxprune.envs.mujoco.worlds import counted
from jaxprune.errors import SpecError


def scaled_by(worlds):
    """Of one world: a vector, what is added, and the number of worlds it is told of."""
    return lambda x, tree: {"sum": x + tree["by"], "worlds": worlds}


COUNTED = counted(scaled_by)


def test_one_world_by_itself():
    made = jax.jit(COUNTED)(jnp.arange(3.0), {"by": 2.0, "nothing": None})
    np.testing.assert_array_equal(made["sum"], [2, 3, 4])
    assert made["worlds"] == 1


def test_maps_within_maps_are_one_row_of_worlds():
    x, by = jnp.arange(24.0).reshape(2, 3, 4), jnp.asarray([10.0, 20.0])
    inner = jax.vmap(lambda x, by: COUNTED(x, {"by": by}), in_axes=(0, None))
    for call in (jax.vmap(inner), jax.jit(jax.vmap(inner))):
        made = call(x, by)
        np.testing.assert_array_equal(made["sum"], x + by[:, None, None])
        np.testing.assert_array_equal(made["worlds"], np.full((2, 3), 6))


def test_what_is_the_same_for_all_worlds_is_repeated_and_axes_may_be_any():
    x = jnp.arange(12.0).reshape(3, 4)
    made = jax.vmap(lambda x: COUNTED(x, {"by": jnp.arange(3.0)}), in_axes=1)(x)
    np.testing.assert_array_equal(made["sum"], x.T + np.arange(3))
    np.testing.assert_array_equal(made["worlds"], np.full(4, 4))


def test_a_loop_is_told_as_well():
    def steps(x):
        return jax.lax.scan(lambda x, _: (COUNTED(x, {"by": 1.0})["sum"], COUNTED(x, {"by": 0})), x, length=3)

    last, made = jax.vmap(steps)(jnp.zeros((5, 2)))
    np.testing.assert_array_equal(last, np.full((5, 2), 3))
    np.testing.assert_array_equal(made["worlds"], np.full((5, 3), 5))


def test_without_its_package_the_engine_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp", None)
    with pytest.raises(SpecError, match=r"^physics: mjx-warp needs the package warp-lang; pip install"):
        make("hopper", "mjx-warp")
