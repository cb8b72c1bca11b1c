"""How far rounding can move a computed number: the slack that keeps a certificate above a computed attack.

Model. A dot product of length n in floating point is off by at most `n u |w|.|h| + n t` in any order of
summation, `u` the unit roundoff and `t` the smallest normal number, since smaller results may be flushed to
zero; an activation of the table is off by at most `ACTIVATION_ULPS` units in the last place (measured in
`tests/bounds/test_activations.py`). Both the attack that evaluates the network and the bound that is
compared with it commit such errors, so every slack below counts them for both.

Squares and products of weights leave the range of float32 long before the weights do: 1e-20 squared is zero.
So they are formed of numbers that a power of two has brought near one, which is exact, and that power is put
back at the end.

Slacks are constants for the gradient: whoever trains on a bound moves the bound, not its rounding, which is
a millionth of it and would cost a quarter of the time.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., SIAM 2002, section 3.1.
"""

from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from jaxprune.precision import PRECISION

ACTIVATION_ULPS = 8


def product(a: Shaped[Array, "..."], b: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """`a @ b` at full precision: TF32 would break the rounding model."""
    return jnp.matmul(a, b, precision=PRECISION)


def applied(rows: Float[Array, "row in"], vector: Float[Array, " in"]) -> Float[Array, " row"]:
    """`rows @ vector` where both differ from state to state, as a sum.

    A batch of small products of matrices and vectors is a call each on a CPU, which costs more than they do;
    sums are fused with what is around them.
    """
    return jnp.sum(rows * vector, axis=1)


def unit(dtype: jnp.dtype) -> float:
    """Distance from 1 to the next number of `dtype`, twice its unit roundoff."""
    return float(jnp.finfo(dtype).eps)


def smallest(dtype: jnp.dtype) -> float:
    """The smallest normal number of `dtype`, the most that one flush to zero takes away."""
    return float(jnp.finfo(dtype).tiny)


def exponent(size: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    """The e with `2^(e-1) <= size < 2^e`, cut so that `2^e` and `2^-e` are normal; the least for 0.

    Read off the bits of a size that is not negative: `jnp.frexp` and `jnp.ldexp` are fifty operations each.
    """
    info = jnp.finfo(size.dtype)
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(size), _bits_of(size.dtype))
    found = (bits >> info.nmant) - (info.maxexp - 2)  # the bits hold e + maxexp - 2
    return jnp.clip(found, info.minexp, -info.minexp).astype(jnp.int32)


def power(exponent: Int[Array, "*shape"], dtype: jnp.dtype) -> Float[Array, "*shape"]:
    """`2^exponent`, exact, where that is normal; a constant for the gradient."""
    info = jnp.finfo(dtype)
    bits = (exponent + (info.maxexp - 1)).astype(_bits_of(dtype)) << info.nmant
    return jax.lax.bitcast_convert_type(bits, dtype)


def _bits_of(dtype: jnp.dtype) -> jnp.dtype:
    """The integer type as wide as a float."""
    return jnp.dtype(f"int{jnp.finfo(dtype).bits}")


def near_one(values: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Int[Array, ""]]:
    """The values over a power of two that brings the largest of them near one, and its exponent."""
    aside = exponent(jnp.max(jnp.abs(values)))
    return values / power(aside, values.dtype), aside


def scaled_up(values: Float[Array, "*shape"], exponent: Int[Array, ""]) -> Float[Array, "*shape"]:
    """`values 2^exponent` for values >= 0 and an exponent of any size: exact, or rounded up at either end."""
    info = jnp.finfo(values.dtype)
    third = exponent // 3  # each within the range, or the result is beyond it
    for part in (third, third, exponent - 2 * third):
        values = values * power(jnp.clip(part, info.minexp, -info.minexp), values.dtype)
    return values + smallest(values.dtype)


def product_of(*factors: Float[Array, "*_"]) -> Float[Array, "*_"]:
    """Product of non-negative numbers (and at most one array), rounded up.

    It is infinite only if it is above the range, however large or small the factors are.
    """
    scaled, exponents = zip(*map(near_one, factors), strict=True)
    return scaled_up(outward(reduce(jnp.multiply, scaled), len(factors)), reduce(jnp.add, exponents))


def l2_norm(values: Float[Array, "*shape"], axis: int | None = None) -> Float[Array, "*without_axis"]:
    """Euclidean norm, kept just above zero so that a fully pruned network has a gradient and a logarithm.

    The numbers are scaled by a power of two near the largest one, so that no square leaves the range.
    """
    scale = power(exponent(jnp.max(jnp.abs(values), axis=axis, keepdims=True)), values.dtype)
    tiny = smallest(values.dtype)  # under the root it is beyond the last digit, except of zero
    norm = jnp.sqrt(jnp.sum((values / scale) ** 2, axis=axis) + tiny)
    return jnp.maximum(norm * scale.reshape(norm.shape), tiny)


def affine_slack(
    weight: Float[Array, "out in"], bias: Float[Array, " out"], magnitude: Float[Array, " in"]
) -> Float[Array, " out"]:
    """Rounding of `W h + b` for all `|h| <= magnitude`, in the attack and in the bound together: [out].

    Both dimensions count: a bound that goes backwards sums over the outputs as well.
    """
    weight, bias, magnitude = jax.lax.stop_gradient((weight, bias, magnitude))
    terms = 2 * (sum(weight.shape) + 4)
    size = product(jnp.abs(weight), magnitude) + jnp.abs(bias)
    return terms * (unit(weight.dtype) * size + smallest(weight.dtype))


def activation_slack(size: Float[Array, "*shape"], terms: int) -> Float[Array, "*shape"]:
    """Rounding of an activation made of numbers up to `size`, summed with `terms` others, on both sides."""
    size = jax.lax.stop_gradient(size)
    return 2 * (ACTIVATION_ULPS + terms) * (unit(size.dtype) * size + smallest(size.dtype))


def outward(bound: Float[Array, "*shape"], terms: int) -> Float[Array, "*shape"]:
    """A non-negative bound made of `terms` chained sums and products, rounded up."""
    terms = 2 * (terms + 8)
    return bound * (1 + terms * unit(bound.dtype)) + terms * smallest(bound.dtype)
