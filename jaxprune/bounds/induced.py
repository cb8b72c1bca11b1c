"""The products of the induced 1- and inf-norms of the layers, monotone in `|W|` like `frobenius.py`."""

import jax.numpy as jnp

from jaxprune.bounds.ball import Radius, radii
from jaxprune.bounds.change import Change, change_from_sizes
from jaxprune.bounds.network import stretch
from jaxprune.bounds.rounding import l2_norm, outward, product_of
from jaxprune.policy import Layers


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
