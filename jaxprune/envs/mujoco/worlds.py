"""How many simulations stand side by side, for an engine that must know it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

OfOne = Callable[..., Any]


def counted(of: Callable[[int], OfOne]) -> OfOne:
    """`of(worlds)` as a function of one world that is told, however it is mapped, how many there are in all.

    of: number of worlds -> function of arrays or trees of them, of one world. Under nested maps the worlds
        are one axis for it, and arguments that are the same for all of them are repeated.
    """

    def one(*arguments: Any) -> Any:
        first = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], arguments)
        return jax.tree.map(lambda leaf: leaf[0], _together(of, 1)(*first))

    return one


def _together(of: Callable[[int], OfOne], worlds: int) -> OfOne:
    """The function of so many worlds, arrays [world, ...]; mapped once more, it is that of more worlds."""

    @custom_vmap
    def every(*arguments: Any) -> Any:
        return jax.vmap(of(worlds))(*arguments)

    @every.def_vmap
    def _(times: int, batched: list[Any], *arguments: Any) -> tuple[Any, Any]:
        def in_a_row(leaf: jax.Array, mapped: bool) -> jax.Array:
            each = leaf if mapped else jnp.broadcast_to(leaf, (times, *leaf.shape))
            return each.reshape(times * worlds, *each.shape[2:])

        made = _together(of, times * worlds)(*jax.tree.map(in_a_row, arguments, tuple(batched)))
        parted = jax.tree.map(lambda leaf: leaf.reshape(times, worlds, *leaf.shape[1:]), made)
        return parted, jax.tree.map(lambda _: True, parted)

    return every
