"""What every bound of this room returns: how far the outputs of a network can move."""

from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.rounding import l2_norm, outward


class Change(NamedTuple):
    """Upper bounds on the change `D = z(s_hat) - z(x)` of the outputs, over all `s_hat` of the ball.

    euclidean: on `||D||_2`; for a network in standard deviations this is the `delta` of a Gaussian policy.
    span: on `max D - min D`, all that a softmax policy feels of a change of its logits.
    """

    euclidean: Float[Array, ""]
    span: Float[Array, ""]


class Box(NamedTuple):
    """An interval per coordinate, both ends included; or several such boxes, stacked."""

    lower: Float[Array, "*piece out"]
    upper: Float[Array, "*piece out"]


def tightest(*changes: Change) -> Change:
    """The smallest of several bounds on the same change is a bound too; one that is NaN says nothing."""
    return Change(*(reduce(jnp.fmin, values) for values in zip(*changes, strict=True)))


def intersect(first: Box, second: Box) -> Box:
    """What lies in both boxes; each must hold the same true set."""
    return Box(jnp.maximum(first.lower, second.lower), jnp.minimum(first.upper, second.upper))


def magnitude(box: Box) -> Float[Array, "*piece out"]:
    """Largest absolute value in each interval."""
    return jnp.maximum(jnp.abs(box.lower), jnp.abs(box.upper))


def change_from_box(box: Box) -> Change:
    """Bounds for any `D` in the box: its farthest corner, and the widest pair of different coordinates."""
    return Change(farthest_corner(box), jnp.max(pair_gaps(box.lower, box.upper)))


def change_from_sizes(sizes: Float[Array, " out"]) -> Change:
    """Bounds from `|D_i| <= sizes_i`: `||sizes||_2`, and the sum of the two largest."""
    return change_from_box(Box(-sizes, sizes))


def change_from_l2(bound: Float[Array, ""]) -> Change:
    """Bounds from `||D||_2 <= bound`: `max D - min D <= sqrt(2) ||D||_2`, attained by `(1, -1, 0, ...)`."""
    return Change(bound, outward(jnp.sqrt(2.0).astype(bound.dtype) * bound, 1))


def farthest_corner(box: Box) -> Float[Array, ""]:
    """Largest l2 norm in the box."""
    return outward(l2_norm(magnitude(box)), box.lower.size)


def pair_gaps(lower: Float[Array, " out"], upper: Float[Array, " out"]) -> Float[Array, "out out"]:
    """Largest `D_i - D_j` over the box for every pair, zero on the diagonal."""
    gaps = jnp.maximum(upper[:, None] - lower[None, :], 0)
    return outward(jnp.where(jnp.eye(lower.size, dtype=bool), 0, gaps), 1)
