"""Members over the devices, and a few at a time on each, by one program.

What an iteration or an episode needs, only those need that are side by side. No member knows of another, so
nothing is sent between the devices.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxprune.errors import SpecError

Tree = TypeVar("Tree")
Made = TypeVar("Made")


def rows(size: int, chunk: int | None) -> np.ndarray:
    """The rows of each chunk, [chunk, row in it]; None: all in one.

    Chunks are as equal as they can be, and where they do not come out even the last one repeats its last row.
    """
    count = 1 if chunk is None else -(-size // chunk)
    length = -(-size // count)
    return np.minimum(np.arange(count * length), size - 1).reshape(count, length)


def check(chunk: int | None, size: int | None = None) -> None:
    """Raise SpecError for a chunk of less than two, or of more than the `size` there are."""
    if chunk is None:
        return
    if chunk < 2:
        raise SpecError(f"chunk: {chunk} must be at least 2; a batch of one member is rounded otherwise")
    if size is not None and chunk > max(2, size):
        raise SpecError(f"chunk: {chunk} is more than the members there are, {size}; leave it out")


def devices_for(size: int) -> int:
    """How many devices share so many members: two each at least, for one alone would be rounded otherwise."""
    return max(1, min(jax.device_count(), size // 2))


def mapped(function: Callable[[Tree], Made], tree: Tree, size: int, chunk: int | None) -> Made:
    """`jax.vmap(function)` over the rows of a tree with leaves [size, ...].

    Every device has its share of the rows, and takes them chunk by chunk. Shares are as equal as they can be.
    """
    count = devices_for(size)
    if count == 1:
        return _in_turns(function, tree, size, chunk)
    places = rows(size, -(-size // count))
    share, over = places.shape[1], PartitionSpec("member")
    mesh = Mesh(np.array(jax.devices()[: len(places)]), ("member",))
    each = jax.shard_map(
        lambda part: _in_turns(function, part, share, chunk),
        mesh=mesh,
        in_specs=over,
        out_specs=over,
        check_vma=False,
    )
    if places.size == size:
        return each(tree)  # by its numbers, every device would fetch the rows of all others first
    made = each(jax.tree.map(lambda leaf: leaf[places.ravel()], tree))
    return jax.tree.map(lambda leaf: leaf[:size], made)


def _in_turns(function: Callable[[Tree], Made], tree: Tree, size: int, chunk: int | None) -> Made:
    """The same on one device."""
    places = rows(size, chunk)
    if len(places) == 1:
        return jax.vmap(function)(tree)
    made = jax.lax.map(jax.vmap(function), jax.tree.map(lambda leaf: leaf[places], tree))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:size], made)
