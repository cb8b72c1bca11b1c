"""The sum over all paths through the network, monotone in `|W|` like `frobenius.py`."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxprune.bounds.ball import Radius, l2_radius, reach
from jaxprune.bounds.change import Change, change_from_sizes
from jaxprune.bounds.network import stretch
from jaxprune.bounds.rounding import near_one, outward, product, product_of, scaled_up
from jaxprune.bounds.spectral import spectral_norm
from jaxprune.policy import Layers


def path_bound(layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh") -> Change:
    """Sum over all paths from a feature to an output: with `P = |W_L| ... |W_1|`, `|D| <= P |s_hat - x|`.

    linf: `|D| <= P eps`. l2: `||D||_2 <= eps ||P||_2` and `|D_i| <= eps ||P_i||_2`, the largest `D_i - D_j`
    being at most `eps ||P_i + P_j||_2`.
    """
    rows, aside = paths(layers)
    rows = outward(rows * stretch(layers, activation), 1)
    if norm == "linf":
        return change_from_sizes(scaled_up(reach(rows, eps, norm), aside))
    pairs = (rows[:, None] + rows[None, :]) * (1 - jnp.eye(rows.shape[0], dtype=rows.dtype))[..., None]
    span = jnp.max(reach(pairs.reshape(-1, rows.shape[1]), eps, norm))
    radius = l2_radius(eps, rows.shape[1], norm, rows.dtype)
    return Change(*(scaled_up(size, aside) for size in (product_of(radius, spectral_norm(rows)), span)))


def paths(layers: Layers) -> tuple[Float[Array, "out obs"], Int[Array, ""]]:
    """`|W_L| ... |W_1|` as a matrix of numbers up to one, rounded up, and the power of two it lacks."""
    rows, aside = near_one(jnp.abs(layers[0][0]))
    for weight, _ in layers[1:]:
        size, of_weight = near_one(jnp.abs(weight))
        rows, of_rows = near_one(outward(product(size, rows), 2 * weight.shape[1]))
        aside = aside + of_weight + of_rows
    return rows, aside
