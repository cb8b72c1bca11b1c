"""The network a certificate is about: (weight, bias) pairs, an activation between layers, none at the end."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxprune.bounds.activations import activation_named
from jaxprune.bounds.rounding import product
from jaxprune.errors import SpecError
from jaxprune.policy import Layers


def forward(layers: Layers, x: Float[Array, " obs"], *, activation: str = "tanh") -> Float[Array, " out"]:
    """Output of the network at one observation: `W_L f(... f(W_1 x + b_1) ...) + b_L`, weights [out, in].

    Raises:
        SpecError: the activation is not in the table.
    """
    function = activation_named(activation).function
    hidden = x
    for weight, bias in layers[:-1]:
        hidden = function(product(weight, hidden) + bias)
    weight, bias = layers[-1]
    return product(weight, hidden) + bias


def in_std_units(layers: Layers, std: Float[Array, " act"]) -> Layers:
    """The same network with its last layer divided by `std`: outputs in standard deviations of the policy.

    The l2 distance of two of its outputs is `delta = ||Sigma^{-1/2} (mu(x) - mu(s_hat))||_2`. The division
    is entry by entry, so it commutes with pruning masks.
    """
    weight, bias = layers[-1]
    return (*layers[:-1], (weight / std[:, None], bias / std))


def stretch(layers: Layers, activation: str) -> float:
    """How much the hidden activations alone can lengthen a change: the steepest slope, once per layer."""
    return activation_named(activation).steepest ** (len(layers) - 1)


def check_finite(layers: Layers) -> None:
    """Host-side guard: a bound of a network with NaN or Inf in it means nothing.

    Raises:
        SpecError: naming the first layer that holds a number that is not finite.
    """
    for index, (weight, bias) in enumerate(layers):
        for part, values in (("weight", weight), ("bias", bias)):
            bad = int(np.sum(~np.isfinite(np.asarray(values))))
            if bad:
                raise SpecError(
                    f"layers[{index}].{part}: {bad} of {jnp.size(values)} values are not finite; "
                    "a bound needs finite weights: drop this member or go back to an earlier checkpoint"
                )
