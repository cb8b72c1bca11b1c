"""How far the outputs that a machine computes can be from the exact ones.

A bound of the weights alone is about the exact network. An attack compares two computed outputs, and each of
them may be off by the error bounded here. The error is a function of `|W|` and `|b|` that grows with every
entry, so a monotone bound with this error on top is still monotone.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.activations import Activation, activation_named
from jaxprune.bounds.ball import Radius, ball
from jaxprune.bounds.change import Change, change_from_sizes
from jaxprune.bounds.rounding import activation_slack, affine_slack, outward, product
from jaxprune.policy import Layers


def evaluation_error(
    layers: Layers,
    x: Float[Array, " obs"],
    eps: Radius,
    *,
    norm: str = "linf",
    activation: str = "tanh",
) -> Change:
    """What rounding can add to the change of the outputs, anywhere in the ball around one observation.

    `bound(layers, eps) + evaluation_error(layers, x, eps)`, member by member of the `Change`, holds for
    the change as computed, for a `bound` that holds for the exact one.

    Raises:
        SpecError: an unknown norm or activation.
    """
    function = activation_named(activation)
    inputs = [ball(x, eps, norm).largest]
    for weight, bias in layers[:-1]:
        size = product(jnp.abs(weight), inputs[-1]) + jnp.abs(bias)  # and |f(z)| <= |z|
        inputs.append(jnp.minimum(outward(size, weight.shape[1]), function.limit))
    return change_from_sizes(2 * propagated_error(layers, inputs, function))


def propagated_error(
    layers: Layers, inputs: Sequence[Float[Array, " _"]], activation: Activation
) -> Float[Array, " out"]:
    """Error of one computed output, [out], where what goes into layer l is at most `inputs[l]` in size."""
    error = affine_slack(*layers[0], inputs[0])
    for (weight, bias), size in zip(layers[1:], inputs[1:], strict=True):
        error = product(jnp.abs(weight), activation.steepest * error + activation_slack(size, 0))
        error = error + affine_slack(weight, bias, size)
    return error
