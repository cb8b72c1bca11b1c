"""Global l2 Lipschitz bounds of a network, without LAPACK: safe inside a batched, compiled program.

Like the bounds of `norms.py` they hold for the network in real arithmetic and are rounded up themselves,
but they are *not* monotone under pruning: `[[1, 1], [1, -1]]` has norm 1.414, `[[1, 1], [1, 0]]` 1.618.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.certify.ball import Radius, l2_radius
from jaxprune.certify.change import Change, change_from_l2
from jaxprune.certify.network import Layers, stretch
from jaxprune.certify.rounding import outward, product

GRAM_STEPS = 8


def spectral_norm(matrix: Float[Array, "rows columns"]) -> Float[Array, ""]:
    """Upper bound on the largest singular value by Gram iteration.

    `G_0 = W`, `G_{i+1} = G_i^T G_i`: `||W||_2 <= ||G_k||_F^(1 / 2^k)` at every k, falling to `||W||_2`. Each
    iterate is rescaled to Frobenius norm 1, its scale kept as a logarithm. A rescaled iterate of rank r has
    `||G||_2^2 >= 1 / r`, so rounding costs a relative `r n u` and is added at the end.

    Reference: Delattre et al., Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram
    Iteration, ICML 2023.
    """
    gram = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    log_scale = jnp.zeros((), matrix.dtype)
    for step in range(GRAM_STEPS):
        scale = _positive_frobenius(gram)
        log_scale = log_scale + jnp.log(scale) / 2**step
        gram = product((gram / scale).T, gram / scale)
    log_scale = log_scale + jnp.log(_positive_frobenius(gram)) / 2**GRAM_STEPS
    return outward(jnp.exp(log_scale) * (1 + jnp.abs(log_scale) * jnp.finfo(matrix.dtype).eps), matrix.size)


def spectral_product(layers: Layers, eps: Radius, *, norm: str = "linf", activation: str = "tanh") -> Change:
    """`||D||_2 <= eps_2 prod_l ||W_l||_2`, with `eps_2` the l2 radius of the ball (`||eps||_2` for linf)."""
    first = layers[0][0]
    bound = l2_radius(eps, first.shape[1], norm, first.dtype) * stretch(layers, activation)
    for weight, _ in layers:
        bound = bound * spectral_norm(weight)
    return change_from_l2(outward(bound, first.shape[1] + len(layers)))


def _positive_frobenius(matrix: Float[Array, "rows columns"]) -> Float[Array, ""]:
    """Frobenius norm, kept above zero so that a fully pruned layer has a logarithm and a gradient."""
    return jnp.sqrt(jnp.sum(matrix**2) + jnp.finfo(matrix.dtype).tiny)
