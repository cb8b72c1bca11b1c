"""Global l2 Lipschitz bounds of a network, without LAPACK: safe inside a batched, compiled program.

Like the bounds of `norms.py` they hold for the exact network and are rounded up themselves, but they
are *not* monotone under pruning: `[[1, 1], [1, -1]]` has norm 1.414, `[[1, 1], [1, 0]]` 1.618.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.activations import activation_named
from jaxprune.bounds.ball import Radius, l2_radius
from jaxprune.bounds.change import Change, change_from_l2
from jaxprune.bounds.network import Layers, stretch
from jaxprune.bounds.rounding import (
    exponent,
    l2_norm,
    near_one,
    outward,
    power,
    product,
    product_of,
    scaled_up,
    unit,
)
from jaxprune.errors import SpecError

GRAM_STEPS = 8
SERIES_DOUBLINGS = 5  # the rest of the series is below 2^-31


def spectral_norm(matrix: Float[Array, "rows columns"]) -> Float[Array, ""]:
    """Upper bound on the largest singular value by Gram iteration.

    `G_0 = W`, `G_{i+1} = G_i^T G_i`: `||W||_2 <= ||G_k||_F^(1 / 2^k)` at every k, falling to `||W||_2`. Each
    iterate is rescaled to Frobenius norm 1, its scale kept as a logarithm. A rescaled iterate of rank r has
    `||G||_2^2 >= 1 / r`, so rounding costs a relative `r n u` and is added at the end.

    Reference: Delattre et al., Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram
    Iteration, ICML 2023.
    """
    gram, aside = near_one(matrix)
    gram = gram if matrix.shape[0] >= matrix.shape[1] else gram.T
    log_scale = jnp.zeros((), matrix.dtype)
    for step in range(GRAM_STEPS):
        scale = jax.lax.stop_gradient(l2_norm(gram))  # the result does not depend on it
        log_scale = log_scale + jnp.log(scale) / 2**step
        gram = product((gram / scale).T, gram / scale)
    log_scale = log_scale + jnp.log(l2_norm(gram)) / 2**GRAM_STEPS
    norm = jnp.exp(log_scale) * (1 + jnp.abs(log_scale) * unit(matrix.dtype))
    return scaled_up(outward(norm, matrix.size), aside)


def spectral_product(layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh") -> Change:
    """`||D||_2 <= eps_2 prod_l ||W_l||_2`, with `eps_2` the l2 radius of the ball (`||eps||_2` for linf)."""
    first = layers[0][0]
    radius = l2_radius(eps, first.shape[1], norm, first.dtype) * stretch(layers, activation)
    bound = product_of(radius, *(spectral_norm(weight) for weight, _ in layers))
    return change_from_l2(outward(bound, first.shape[1] + len(layers)))


def eclipse_bound(layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh") -> Change:
    """`||D||_2 <= L eps_2` with the Lipschitz constant L of ECLipsE-Fast; never above `spectral_product`.

    `M_0 = I`; per hidden layer `S = W M^{-1} W^T`, `lam = 2 / lmax(S)`, `M = lam I - lam^2 / 4 S`; at the end
    `L^2 = lmax(W_L M^{-1} W_L^T)`. A larger matrix in place of `M^{-1}`, or a larger number in place of
    `lmax`, keeps L an upper bound, and that is what `inverse_above` and Gram iteration give. A matrix 2^e W
    has the same M but for a factor 4^e in `M^{-1}`, so all that is squared here is near one, and the powers
    are put back into L.

    Reference: Xu and Sivaranjani, ECLipsE: Efficient Compositional Lipschitz Constant Estimation for Deep
    Neural Networks, NeurIPS 2024.

    Raises:
        SpecError: an activation whose slope leaves [0, 1].
    """
    least, steepest = activation_named(activation).slopes
    if least < 0 or steepest > 1:
        raise SpecError(
            f"activation: eclipse_bound needs slopes in [0, 1], {activation!r} has [{least}, {steepest}]; "
            "use spectral_product"
        )
    first = layers[0][0]
    inverse, aside = jnp.eye(first.shape[1], dtype=first.dtype), jnp.zeros((), jnp.int32)
    for index, (weight, _) in enumerate(layers):
        scaled, of_weight = near_one(weight)
        squeezed, aside = congruence_above(scaled, inverse), aside + of_weight
        if index < len(layers) - 1:
            # Only a matrix of zeros is below: what is near one has a row and a column near one.
            scale = 2 / jnp.maximum(spectral_norm(squeezed), unit(weight.dtype) ** 2)
            inverse = inverse_above(scale / 4 * squeezed) / scale
            half = exponent(jnp.max(jnp.abs(inverse))) // 2
            inverse, aside = inverse / power(2 * half, weight.dtype), aside + half
    lipschitz = outward(jnp.sqrt(spectral_norm(squeezed)), 1)
    radius, of_radius = near_one(l2_radius(eps, first.shape[1], norm, first.dtype))
    bound = scaled_up(outward(lipschitz * radius, first.shape[1] + 8), aside + of_radius)
    return change_from_l2(bound)


def congruence_above(weight: Float[Array, "out in"], inner: Float[Array, "in in"]) -> Float[Array, "out out"]:
    """`W P W^T` for a symmetric P, plus a multiple of I that makes it larger than the exact matrix.

    The rounding is entrywise at most `2 n u |W| |P| |W|^T`, whose norm is at most its largest row sum.
    """
    size = jnp.abs(weight)
    row_sums = product(size, product(jnp.abs(inner), jnp.sum(size, axis=0)))
    slack = 2 * (weight.shape[1] + 2) * unit(weight.dtype) * jnp.max(row_sums)
    exact = product(product(weight, inner), weight.T)
    return (exact + exact.T) / 2 + slack * jnp.eye(weight.shape[0], dtype=weight.dtype)


def inverse_above(small: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """A matrix not below `(I - E)^{-1}`, for a symmetric `0 <= E <= I / 2`, without a factorisation.

    The Neumann series: `sum_{k < K} E^k + E^K (I - E)^{-1}`, and the last inverse is at most `2 I`. With
    `K = 2^5` by doubling. Rounding is at most `2 n^1.5 u` times the norm of the sum, added twice over as
    a multiple of I.
    """
    size = small.shape[0]
    power, series = small, jnp.eye(size, dtype=small.dtype)
    for _ in range(SERIES_DOUBLINGS):
        series = series + product(series, power)
        power = product(power, power)
    series = series + 2 * power
    slack = 4 * size**1.5 * unit(small.dtype) * l2_norm(series)
    return (series + series.T) / 2 + slack * jnp.eye(size, dtype=small.dtype)
