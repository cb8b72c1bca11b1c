"""Products of spectral norms, without LAPACK: safe inside a batched, compiled program.

The product of the norms of `W_l` is *not* monotone under pruning: `[[1, 1], [1, -1]]` has norm 1.414,
`[[1, 1], [1, 0]]` 1.618. That of `|W_l|` is, like `frobenius.py`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.ball import Radius, l2_radius
from jaxprune.bounds.change import Change, change_from_l2
from jaxprune.bounds.network import stretch
from jaxprune.bounds.rounding import l2_norm, near_one, outward, product, product_of, scaled_up, unit
from jaxprune.policy import Layers

GRAM_STEPS = 8

SMALLEST_SCALE = 1e-12
"""Of iterates: the first has an entry near 1, the others a norm of at least one over the root of the rank."""


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
    shares = 0.5 ** jnp.arange(GRAM_STEPS + 1, dtype=matrix.dtype)
    first, _ = _gram_step((gram, jnp.zeros((), matrix.dtype)), shares[0])  # the others are of square matrices
    (gram, log_scale), _ = jax.lax.scan(_gram_step, first, shares[1:-1])
    log_scale = log_scale + jnp.log(l2_norm(gram)) * shares[-1]
    norm = jnp.exp(log_scale) * (1 + jnp.abs(log_scale) * unit(matrix.dtype))
    return scaled_up(outward(norm, matrix.size), aside)


def _gram_step(
    carry: tuple[Float[Array, "rows columns"], Float[Array, ""]], share: Float[Array, ""]
) -> tuple[tuple[Float[Array, "columns columns"], Float[Array, ""]], None]:
    """(G, log of all scales so far) -> those of the next iterate."""
    gram, log_scale = carry
    scale = jax.lax.stop_gradient(l2_norm(gram))  # the result does not depend on it
    # Only zeros are smaller; the gradient would be full of 0 / 0.
    scale = jnp.where(scale > SMALLEST_SCALE, scale, 1.0)
    return (product((gram / scale).T, gram / scale), log_scale + jnp.log(scale) * share), None


def spectral_product(layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh") -> Change:
    """`||D||_2 <= eps_2 prod_l ||W_l||_2`, with `eps_2` the l2 radius of the ball (`||eps||_2` for linf)."""
    first = layers[0][0]
    radius = l2_radius(eps, first.shape[1], norm, first.dtype) * stretch(layers, activation)
    bound = product_of(radius, *(spectral_norm(weight) for weight, _ in layers))
    return change_from_l2(outward(bound, first.shape[1] + len(layers)))


def absolute_spectral_product(
    layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh"
) -> Change:
    """`||D||_2 <= eps_2 prod_l || |W_l| ||_2`: unlike the spectral norm of `W_l`, this one is monotone."""
    return spectral_product(
        tuple((jnp.abs(weight), bias) for weight, bias in layers), eps, norm=norm, activation=activation
    )
