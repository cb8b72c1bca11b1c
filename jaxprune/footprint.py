"""Bytes of what is there at once while members play, and how many members a memory holds side by side."""

from typing import Any

import jax

from jaxprune.certification.return_spec import ReturnSpec
from jaxprune.envs import Environment
from jaxprune.evaluation import STEPS_AT_ONCE

BASE_BYTES = 1000 * 2**20
"""Memory of the interpreter with JAX and MuJoCo loaded and programs compiled."""

FLOAT = 4
"""Bytes of a number."""


def of_arrays(tree: Any) -> int:
    """Of all arrays in a tree, made or only described."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf.dtype, "itemsize")]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def of_episodes(env: Environment, episodes: int) -> int:
    """Of so many episodes under way, before and after a step."""
    return 2 * episodes * of_arrays(jax.eval_shape(env.reset, jax.random.key(0)))


def of_visits(env: Environment, episodes: int) -> int:
    """Of all states that so many episodes can visit."""
    return FLOAT * env.observation_size * env.horizon * episodes


def of_returned(env: Environment, returned: ReturnSpec) -> int:
    """Of a member's episodes whose returns are certified, with a stretch of their states, or of those under
    MAD.
    """
    stretch = FLOAT * STEPS_AT_ONCE * env.observation_size * returned.return_episodes
    attacked = of_episodes(env, len(returned.radii) * returned.return_attacked)
    return max(of_episodes(env, returned.return_episodes) + stretch, attacked)


def side_by_side(members: int, of_one: int, room: int) -> int | None:
    """How many members are side by side at most where there are `room` bytes; None for all of them."""
    many = max(2, room // of_one)
    return None if many >= members else many
