"""How far rounding can move a computed number: the slack that keeps a certificate above a computed attack.

Model. A dot product of length n in floating point is off by at most `n u |w|.|h|` in any order of summation,
`u` the unit roundoff; an activation of the table is off by at most `ACTIVATION_ULPS` units in the last place
(measured in `tests/certify/test_activations.py`). Both the attack that evaluates the network and the bound
that is compared with it commit such errors, so every slack below counts them for both.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section 3.1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

ACTIVATION_ULPS = 8


def product(a: Shaped[Array, "..."], b: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """`a @ b` at the highest precision of the device: TF32 would break the rounding model."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def unit(dtype: jnp.dtype) -> float:
    """Distance from 1 to the next number of `dtype`, twice its unit roundoff."""
    return float(jnp.finfo(dtype).eps)


def l2_norm(values: Float[Array, "..."], axis: int | None = None) -> Float[Array, "..."]:
    """Euclidean norm, kept just above zero so that a fully pruned network has a gradient and a logarithm."""
    return jnp.sqrt(jnp.sum(values**2, axis=axis) + jnp.finfo(values.dtype).tiny)


def affine_slack(
    weight: Float[Array, "out in"], bias: Float[Array, " out"], magnitude: Float[Array, " in"]
) -> Float[Array, " out"]:
    """Rounding of `W h + b` for all `|h| <= magnitude`, in the attack and in the bound together: [out].

    Both dimensions count: a bound that goes backwards sums over the outputs as well.
    """
    per_term = 2 * (sum(weight.shape) + 4) * unit(weight.dtype)
    return per_term * (product(jnp.abs(weight), magnitude) + jnp.abs(bias))


def activation_slack(size: Float[Array, "*shape"], terms: int) -> Float[Array, "*shape"]:
    """Rounding of an activation made of numbers up to `size`, summed with `terms` others, on both sides."""
    return 2 * (ACTIVATION_ULPS + terms) * unit(size.dtype) * size


def outward(bound: Float[Array, "*shape"], terms: int) -> Float[Array, "*shape"]:
    """A non-negative bound made of `terms` chained sums and products, rounded up."""
    return bound * (1 + 2 * (terms + 8) * unit(bound.dtype))
