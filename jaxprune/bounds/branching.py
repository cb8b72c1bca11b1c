"""Branch and bound: the ball is split where that helps most, and each part is bounded by CROWN.

The bound is the largest one over the parts, which together cover the ball. Each step takes the part with the
largest bound and halves it along the feature that moves its linear bound most.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxprune.bounds.activations import activation_named
from jaxprune.bounds.ball import Radius, ball, radii, within
from jaxprune.bounds.change import Change
from jaxprune.bounds.crown import crown_hidden
from jaxprune.bounds.interval import clean_inputs
from jaxprune.bounds.joint import SIZES, worst_of_each
from jaxprune.bounds.linear import Hidden
from jaxprune.policy import Layers

PARTS = 32


class Part(NamedTuple):
    """A part of the ball, or several stacked: offsets from x, bound, and the feature to split by."""

    lower: Float[Array, "*part obs"]
    upper: Float[Array, "*part obs"]
    bound: Float[Array, "*part"]
    feature: Int[Array, "*part"]


def branching_bound(
    layers: Layers,
    x: Float[Array, " obs"],
    eps: Radius,
    *,
    norm: str = "linf",
    activation: str = "tanh",
    parts: int = PARTS,
) -> Change:
    """Bound from that many parts of the ball (2 `parts` CROWN bounds); never above `crown_bound`.

    Each of the two sizes has parts of its own, and one step of one loop splits one of either.

    Raises:
        SpecError: an unknown norm or activation.
    """
    region, function = ball(x, eps, norm), activation_named(activation)
    clean = clean_inputs(layers, x, function)

    def lines(lower: Float[Array, " obs"], upper: Float[Array, " obs"]) -> tuple[Hidden, ...]:
        return crown_hidden(layers, within(region, lower, upper), function)

    def bounded(lower: Float[Array, "size obs"], upper: Float[Array, "size obs"]) -> Part:
        regions = [*map(partial(within, region), lower, upper)]
        worst = worst_of_each(layers, clean, jax.vmap(lines)(lower, upper), regions)
        feature = jnp.argmax(jnp.abs(worst.sensitivity) * (upper - lower), axis=-1)
        return Part(lower, upper, worst.bound, feature)

    def split(found: Part, free: Int[Array, ""]) -> tuple[Part, None]:
        places, whole = jax.vmap(worst_part)(found)
        halves = jax.vmap(bounded)(*jax.vmap(halved, out_axes=1)(whole))
        halves = halves._replace(bound=jnp.minimum(halves.bound, whole.bound))
        of_size = jnp.arange(len(SIZES))

        def put(values: Array, half: Array) -> Array:
            return values.at[of_size, places].set(half[0]).at[of_size, free].set(half[1])

        return jax.tree.map(put, found, halves), None

    whole = unbounded(radii(eps, x.size, norm, x.dtype))
    found = jax.tree.map(
        lambda values: jnp.zeros((len(SIZES), parts, *values.shape), values.dtype).at[:, 0].set(values), whole
    )
    found, _ = jax.lax.scan(split, found, jnp.arange(parts))
    return Change(*jnp.max(found.bound, axis=1))


def unbounded(moves: Float[Array, " obs"]) -> Part:
    """All offsets within `moves`, not bounded yet. It has no feature to split by: both its halves are it."""
    return Part(-moves, moves, jnp.asarray(jnp.inf, moves.dtype), jnp.asarray(moves.size, int))


def worst_part(parts: Part) -> tuple[Int[Array, ""], Part]:
    """The part with the largest bound, and its place among all of them."""
    place = jnp.argmax(parts.bound)
    return place, jax.tree.map(lambda values: values[place], parts)


def halved(part: Part) -> tuple[Float[Array, "half obs"], Float[Array, "half obs"]]:
    """Lower and upper ends of the halves of a part, cut in the middle of its feature."""
    lower, upper, _, feature = part
    middle = (lower[feature] + upper[feature]) / 2
    cut_lower, cut_upper = (end.at[feature].set(middle, mode="drop") for end in (lower, upper))
    return jnp.stack([lower, cut_lower]), jnp.stack([cut_upper, upper])
