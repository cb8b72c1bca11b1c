"""Members a few at a time, by one program: what an iteration or an episode needs, only these need at once."""

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

Tree = TypeVar("Tree")
Made = TypeVar("Made")


def rows(size: int, chunk: int | None) -> np.ndarray:
    """The rows of each chunk, [chunk, row in it]; None: all in one.

    Chunks are as equal as they can be, and where they do not come out even the last one repeats its last row.
    """
    count = 1 if chunk is None else -(-size // chunk)
    length = -(-size // count)
    return np.minimum(np.arange(count * length), size - 1).reshape(count, length)


def mapped(function: Callable[[Tree], Made], tree: Tree, size: int, chunk: int | None) -> Made:
    """`jax.vmap(function)` over the rows of a tree with leaves [size, ...], chunk by chunk."""
    places = rows(size, chunk)
    if len(places) == 1:
        return jax.vmap(function)(tree)
    made = jax.lax.map(jax.vmap(function), jax.tree.map(lambda leaf: leaf[places], tree))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:size], made)
