"""Branch and bound: the ball is split where that helps most, and each part is bounded by CROWN.

The bound is the largest one over the parts, which together cover the ball. Each step takes the part with the
largest bound and halves it along the feature that moves its linear bound most.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxprune.bounds.activations import activation_named
from jaxprune.bounds.ball import Radius, Region, ball, radii, within
from jaxprune.bounds.change import Change
from jaxprune.bounds.crown import crown_hidden
from jaxprune.bounds.joint import Size, worst_euclidean, worst_span
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
    """Bound from that many parts of the ball (2 `parts` - 1 CROWN bounds); never above `crown_bound`.

    Raises:
        SpecError: an unknown norm or activation.
    """
    region = ball(x, eps, norm)
    moves = radii(eps, x.size, norm, x.dtype)
    return Change(
        *(search(size, layers, region, moves, activation, parts) for size in (worst_euclidean, worst_span))
    )


def search(
    size: Size, layers: Layers, region: Region, moves: Float[Array, " obs"], activation: str, count: int
) -> Float[Array, ""]:
    """Bound on one size of the change over a region whose offsets are within `moves`, in so many parts."""
    function = activation_named(activation)

    def bounded(lower: Float[Array, " obs"], upper: Float[Array, " obs"]) -> Part:
        part = within(region, lower, upper)
        worst = size(layers, crown_hidden(layers, part, function), part, function)
        return Part(lower, upper, worst.bound, jnp.argmax(jnp.abs(worst.sensitivity) * (upper - lower)))

    def split(parts: Part, free: Int[Array, ""]) -> tuple[Part, None]:
        worst = jnp.argmax(parts.bound)
        lower, upper, bound, feature = jax.tree.map(lambda values: values[worst], parts)
        middle = (lower[feature] + upper[feature]) / 2
        halves = jax.vmap(bounded)(
            jnp.stack([lower, lower.at[feature].set(middle)]),
            jnp.stack([upper.at[feature].set(middle), upper]),
        )
        halves = halves._replace(bound=jnp.minimum(halves.bound, bound))
        places = jnp.stack([worst, free])
        return jax.tree.map(lambda all_, new: all_.at[places].set(new), parts, halves), None

    root = bounded(-moves, moves)
    parts = jax.tree.map(
        lambda values: jnp.zeros((count, *values.shape), values.dtype).at[0].set(values), root
    )
    parts, _ = jax.lax.scan(split, parts, jnp.arange(1, count))
    return jnp.max(parts.bound)
