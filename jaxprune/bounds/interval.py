"""Interval bounds (IBP): one box per layer around everything an adversary can make the network compute.

Reference: Gowal et al., Scalable Verified Training for Provably Robust Image Classification, ICCV 2019.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.activations import Activation, activation_named, enclose
from jaxprune.bounds.ball import Radius, Region, ball
from jaxprune.bounds.change import Box, Change, change_from_box, magnitude
from jaxprune.bounds.rounding import affine_slack, product
from jaxprune.policy import Layer, Layers

Inputs = Region | Box
"""What may go into a layer: observations of a region, or what a box of pre-activations was made into."""


def interval_bound(
    layers: Layers,
    x: Float[Array, " obs"],
    eps: Radius,
    *,
    norm: str = "linf",
    activation: str = "tanh",
) -> Change:
    """Bound on the change of the outputs around one observation, computed and rounded as `interval_box`.

    The span comes from boxes of the pairwise differences of the outputs, tighter than differences of boxes.

    Raises:
        SpecError: an unknown norm or activation.
    """
    function = activation_named(activation)
    attacked, clean = last_inputs(layers, ball(x, eps, norm), function), clean_inputs(layers, x, function)
    box, pairs = (moved(last, attacked, clean) for last in (layers[-1], pairwise(layers[-1])))
    noise = pair_noise(layers[-1], attacked, clean)
    return Change(change_from_box(box).euclidean, jnp.max(pairs.upper + noise))


def interval_box(
    layers: Layers,
    x: Float[Array, " obs"],
    eps: Radius,
    *,
    norm: str = "linf",
    activation: str = "tanh",
) -> Box:
    """Box of `z(s_hat) - z(x)`, [out], over the ball around `x`, rounded outwards in the inputs' dtype.

    It holds the difference of any two computed evaluations of the network, one in the ball and one at `x`.
    """
    function = activation_named(activation)
    attacked = last_inputs(layers, ball(x, eps, norm), function)
    return moved(layers[-1], attacked, clean_inputs(layers, x, function))


def moved(last: Layer, attacked: Inputs, clean: Inputs) -> Box:
    """Box of the change of the outputs of the last layer between two sets of its inputs."""
    there, here = affine_image(last, attacked), affine_image(last, clean)
    return Box(there.lower - here.upper, there.upper - here.lower)


def clean_inputs(layers: Layers, x: Float[Array, " obs"], activation: Activation) -> Inputs:
    """What may be computed for the inputs of the last layer at the observation: the ball of radius zero."""
    return last_inputs(layers, ball(x, 0.0, "linf"), activation)


def last_inputs(layers: Layers, region: Region, activation: Activation) -> Inputs:
    """What may go into the last layer over a region, by intervals."""
    inputs: Inputs = region
    for layer in layers[:-1]:
        inputs = image(activation, affine_image(layer, inputs))
    return inputs


def image(activation: Activation, box: Box) -> Box:
    """What the activation makes of a box, elementwise: the enclosing lines of slope zero."""
    return Box(*enclose(activation, jnp.zeros_like(box.lower), box.lower, box.upper))


def affine_image(layer: Layer, inputs: Inputs) -> Box:
    """Smallest box around `W h + b` for all `h` of the inputs, widened by the rounding."""
    weight, bias = layer
    slack = affine_slack(weight, bias, largest(inputs))
    if isinstance(inputs, Region):
        clean = product(weight, inputs.x) + bias
        up, down = jnp.split(inputs.support(jnp.concatenate([weight, -weight])), 2)
        return Box(clean - down - slack, clean + up + slack)
    centre = product(weight, (inputs.lower + inputs.upper) / 2) + bias
    radius = product(jnp.abs(weight), (inputs.upper - inputs.lower) / 2) + slack
    return Box(centre - radius, centre + radius)


def largest(inputs: Inputs) -> Float[Array, " in"]:
    """Bound on the absolute value of each input."""
    return inputs.largest if isinstance(inputs, Region) else magnitude(inputs)


def pair_noise(last: Layer, attacked: Inputs, clean: Inputs) -> Float[Array, " pair"]:
    """Rounding of `D_i - D_j` beyond that of `pairwise`.

    Each output is rounded by itself, attacked and clean, however small `W_i - W_j` may be.
    """
    here = affine_image(last, clean)
    noise = affine_slack(*last, largest(attacked)) + (here.upper - here.lower)
    return (noise[:, None] + noise[None, :]).reshape(-1)


def pairwise(last: Layer) -> Layer:
    """The last layer of the network whose outputs are all differences `z_i - z_j`, at place `i * out + j`."""
    weight, bias = last
    rows = (weight[:, None] - weight[None, :]).reshape(-1, weight.shape[1])
    return rows, (bias[:, None] - bias[None, :]).reshape(-1)
