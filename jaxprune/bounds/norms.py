"""Monotone bounds: products of matrix norms that pruning can only lower.

Each is a function of `|W|` that grows with every entry, so `bound(W * M) <= bound(W)` for every 0/1 mask `M`
(theorem of the library's theory note, section 3). They know nothing of the state and are therefore loose.
All hold for any activation of the table; one of slope up to `k` costs a factor `k` per hidden layer.

They bound the exact network and are rounded up themselves. An attack in float32 sees rounding on top of that,
at most `evaluation_error`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxprune.bounds.ball import Radius, l2_radius, radii, reach
from jaxprune.bounds.change import Change, change_from_l2, change_from_sizes
from jaxprune.bounds.lipschitz import spectral_norm, spectral_product
from jaxprune.bounds.network import Layers, stretch
from jaxprune.bounds.rounding import l2_norm, near_one, outward, product, product_of, scaled_up


def frobenius_product(layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh") -> Change:
    """`||D||_2 <= eps_2 prod_l ||W_l||_F`, with `eps_2` the l2 radius of the ball (`||eps||_2` for linf)."""
    first = layers[0][0]
    radius = l2_radius(eps, first.shape[1], norm, first.dtype) * stretch(layers, activation)
    bound = product_of(radius, *(l2_norm(weight) for weight, _ in layers))
    return change_from_l2(outward(bound, sum(weight.size for weight, _ in layers)))


def induced_one_product(
    layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh"
) -> Change:
    """`||D||_2 <= ||D||_1 <= eps_1 prod_l ||W_l||_1`, `||W||_1` the largest column sum of `|W|`.

    `eps_1` is the l1 radius of the ball: `sum(eps)` for linf, `eps sqrt(d)` for l2. The span is at most
    `||D||_1` as well.
    """
    first = layers[0][0]
    per_feature = radii(eps, first.shape[1], norm, first.dtype)
    l1_radius = jnp.sum(per_feature) if norm == "linf" else l2_norm(per_feature)
    column_sums = (jnp.max(jnp.sum(jnp.abs(weight), axis=0)) for weight, _ in layers)
    bound = product_of(l1_radius * stretch(layers, activation), *column_sums)
    bound = outward(bound, sum(sum(weight.shape) for weight, _ in layers))
    return Change(bound, bound)


def induced_inf_product(
    layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh"
) -> Change:
    """`|D_i| <= (|W_L| 1)_i eps_inf prod_{l<L} ||W_l||_inf`, `||W||_inf` the largest row sum of `|W|`.

    `eps_inf` is the largest move of one coordinate. The rows of the last layer stay apart, which for one
    standard deviation per action is tighter than `||Sigma^{-1/2} 1||_2` times the full product.
    """
    first = layers[0][0]
    radius = jnp.max(radii(eps, first.shape[1], norm, first.dtype)) * stretch(layers, activation)
    *hidden, last = (jnp.sum(jnp.abs(weight), axis=1) for weight, _ in layers)
    sizes = product_of(radius, *(jnp.max(row_sums) for row_sums in hidden), last)
    return change_from_sizes(outward(sizes, sum(sum(weight.shape) for weight, _ in layers)))


def path_bound(layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh") -> Change:
    """Sum over all paths from a feature to an output: with `P = |W_L| ... |W_1|`, `|D| <= P |s_hat - s|`.

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


def absolute_spectral_product(
    layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh"
) -> Change:
    """`||D||_2 <= eps_2 prod_l || |W_l| ||_2`: unlike the spectral norm of `W_l`, this one is monotone."""
    return spectral_product(
        tuple((jnp.abs(weight), bias) for weight, bias in layers), eps, norm=norm, activation=activation
    )
