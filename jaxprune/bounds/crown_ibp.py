"""CROWN-IBP: a linear bound going backwards over boxes that come from intervals, cheap enough for training.

Reference: Zhang et al., Towards Stable and Efficient Training of Verifiably Robust Neural Networks, ICLR
2020.
"""

import jax
from jaxtyping import Array, Float

from jaxprune.bounds.activations import activation_named
from jaxprune.bounds.ball import Radius, ball
from jaxprune.bounds.change import Box
from jaxprune.bounds.interval import Inputs, affine_image, clean_inputs
from jaxprune.bounds.linear import Hidden, between_lines, preactivation, tightest_slopes
from jaxprune.policy import Layers


def crown_ibp_box(
    layers: Layers,
    x: Float[Array, " obs"],
    eps: Radius,
    *,
    norm: str = "linf",
    activation: str = "tanh",
) -> Box:
    """Box of `z(s_hat) - z(x)`, [out], over the ball around x; never wider than that of `interval_box`.

    The slopes of the lines are constants for the gradient, as any slope is sound.

    Raises:
        SpecError: an unknown norm or activation.
    """
    function, region = activation_named(activation), ball(x, eps, norm)
    hidden: tuple[Hidden, ...] = ()
    inputs: Inputs = region
    for layer in layers[:-1]:
        box = affine_image(layer, inputs)
        slopes = jax.lax.stop_gradient(tightest_slopes(function, box))
        hidden = (*hidden, between_lines(layer, inputs, box, slopes, function))
        inputs = hidden[-1].image
    attacked = preactivation(layers, hidden, region)
    clean = affine_image(layers[-1], clean_inputs(layers, x, function))
    return Box(attacked.lower - clean.upper, attacked.upper - clean.lower)
