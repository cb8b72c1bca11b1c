"""The set of observations an adversary may show: a ball around the true one, or a part of it."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxprune.bounds.rounding import applied, l2_norm, outward, product
from jaxprune.budget import NORMS
from jaxprune.errors import SpecError, unknown_name

Radius = Float[Array, ""] | Float[Array, " obs"] | float


@dataclass(frozen=True)
class Region:
    """All that a bound needs to know of a set of observations.

    x: [obs], the true observation, normalised, from which changes are measured.
    largest: [obs], bound on the absolute value of each feature.
    support: rows [n, obs] -> [n], the largest `row . (s_hat - x)` over the set, rounded up.
    """

    x: Float[Array, " obs"]
    largest: Float[Array, " obs"]
    support: Callable[[Float[Array, "n obs"]], Float[Array, " n"]]


def ball(x: Float[Array, " obs"], eps: Radius, norm: str) -> Region:
    """The full ball of radius `eps` around an observation."""
    moves = radii(eps, x.size, norm, x.dtype)
    return Region(x, jnp.abs(x) + moves, lambda rows: reach(rows, eps, norm))


def within(region: Region, lower: Float[Array, " obs"], upper: Float[Array, " obs"]) -> Region:
    """The part of a region whose offset `s_hat - x` lies between `lower` and `upper`, feature by feature.

    A row's support over the part is at most its support over either of the two sets that meet there.
    """
    middle, half = (upper + lower) / 2, (upper - lower) / 2

    def support(rows: Float[Array, "n obs"]) -> Float[Array, " n"]:
        rounding = outward(jnp.abs(rows), lower.size) - jnp.abs(rows)
        corner = product(rows, middle) + reach(rows, half, "linf") + product(rounding, jnp.abs(middle))
        return jnp.minimum(region.support(rows), corner)

    return Region(region.x, region.largest, support)


def radii(eps: Radius, size: int, norm: str, dtype: jnp.dtype) -> Float[Array, " obs"]:
    """How far each of `size` coordinates can move: the radius once per feature, [obs].

    Inside a compiled program a negative radius cannot be refused; it becomes NaN, and so does the bound.

    Raises:
        SpecError: an unknown norm, a negative radius, or one radius per feature for the l2 ball.
    """
    if norm not in NORMS:
        raise unknown_name("norm", norm, NORMS)
    if not isinstance(eps, Tracer) and not np.all(np.asarray(eps) >= 0):
        raise SpecError(f"eps: got {eps}, needs a radius of at least 0")
    eps = jnp.asarray(eps, dtype)
    eps = jnp.where(eps >= 0, eps, jnp.nan)
    if norm == "l2" and eps.ndim:
        raise SpecError(f"eps: the l2 ball has one radius, not one per feature; got shape {eps.shape}")
    return jnp.broadcast_to(eps, (size,))


def l2_radius(eps: Radius, size: int, norm: str, dtype: jnp.dtype) -> Float[Array, ""]:
    """Radius of the smallest l2 ball around this one: for linf `||eps||_2` (a number: `eps sqrt(d)`)."""
    per_feature = radii(eps, size, norm, dtype)
    return l2_norm(per_feature) if norm == "linf" else per_feature[0]


def reach(rows: Float[Array, "out obs"], eps: Radius, norm: str) -> Float[Array, " out"]:
    """Largest `row . d` over the ball, [out]: the dual norm, `|row| . eps` (linf) or `eps ||row||_2`."""
    per_feature = radii(eps, rows.shape[1], norm, rows.dtype)
    if norm == "linf":
        largest = applied(jnp.abs(rows), per_feature)
    else:
        largest = l2_norm(rows, axis=1) * per_feature[0]
    return outward(largest, rows.shape[1])
