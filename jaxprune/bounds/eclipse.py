"""ECLipsE-Fast: a global l2 Lipschitz bound from one matrix inequality per layer, without LAPACK.

It is not monotone under pruning.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.activations import Activation, activation_named
from jaxprune.bounds.ball import Radius, l2_radius
from jaxprune.bounds.change import Change, change_from_l2
from jaxprune.bounds.rounding import exponent, l2_norm, near_one, outward, power, product, scaled_up, unit
from jaxprune.bounds.spectral import spectral_norm
from jaxprune.errors import SpecError
from jaxprune.policy import Layers

SERIES_DOUBLINGS = 5  # the rest of the series is below 2^-31


def unit_slopes(activation: Activation) -> bool:
    """Whether the slopes of the activation lie in [0, 1]."""
    least, steepest = activation.slopes
    return least >= 0 and steepest <= 1


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
    function = activation_named(activation)
    if not unit_slopes(function):
        least, steepest = function.slopes
        raise SpecError(
            f"activation: eclipse_bound needs slopes in [0, 1], {activation!r} has [{least}, {steepest}]; "
            "use spectral_product"
        )
    first = layers[0][0]
    inverse, aside = jnp.eye(first.shape[1], dtype=first.dtype), jnp.zeros((), jnp.int32)
    for weight, _ in layers[:-1]:
        scaled, of_weight = near_one(weight)
        squeezed, aside = congruence_above(scaled, inverse), aside + of_weight
        # Only a matrix of zeros is below: what is near one has a row and a column near one.
        scale = 2 / jnp.maximum(spectral_norm(squeezed), unit(weight.dtype) ** 2)
        inverse = inverse_above(scale / 4 * squeezed) / scale
        half = exponent(jnp.max(jnp.abs(inverse))) // 2
        inverse, aside = inverse / power(2 * half, weight.dtype), aside + half
    scaled, of_weight = near_one(layers[-1][0])
    squeezed, aside = congruence_above(scaled, inverse), aside + of_weight
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
