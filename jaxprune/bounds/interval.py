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
    function, region = activation_named(activation), ball(x, eps, norm)
    box = interval_box(layers, x, eps, norm=norm, activation=activation)
    pairs = interval_box(pairwise(layers), x, eps, norm=norm, activation=activation)
    noise = pair_noise(last_slack(layers, region, function), layers, x, function)
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
    attacked = preactivations(layers, ball(x, eps, norm), function)[-1]
    clean = clean_output(layers, x, function)
    return Box(attacked.lower - clean.upper, attacked.upper - clean.lower)


def clean_output(layers: Layers, x: Float[Array, " obs"], activation: Activation) -> Box:
    """Box of what may be computed for the outputs at the observation itself: the ball of radius zero."""
    return preactivations(layers, ball(x, 0.0, "linf"), activation)[-1]


def preactivations(layers: Layers, region: Region, activation: Activation) -> tuple[Box, ...]:
    """Boxes of `W_l h_{l-1} + b_l` for every layer, the last one holding the outputs. The first is exact."""
    boxes = [first_preactivation(layers[0], region)]
    for layer in layers[1:]:
        boxes.append(affine_image(layer, image(activation, boxes[-1])))
    return tuple(boxes)


def first_preactivation(layer: Layer, region: Region) -> Box:
    """Box of `W_1 s_hat + b_1`: each row moves by its support."""
    weight, bias = layer
    clean = product(weight, region.x) + bias
    slack = affine_slack(weight, bias, region.largest)
    return Box(clean - region.support(-weight) - slack, clean + region.support(weight) + slack)


def image(activation: Activation, box: Box) -> Box:
    """What the activation makes of a box, elementwise: the enclosing lines of slope zero."""
    return Box(*enclose(activation, jnp.zeros_like(box.lower), box.lower, box.upper))


def affine_image(layer: Layer, box: Box) -> Box:
    """Smallest box around `W h + b` for `h` in a box, in centre and radius form, widened by the rounding."""
    weight, bias = layer
    centre = product(weight, (box.lower + box.upper) / 2) + bias
    radius = product(jnp.abs(weight), (box.upper - box.lower) / 2)
    radius = radius + affine_slack(weight, bias, magnitude(box))
    return Box(centre - radius, centre + radius)


def last_slack(layers: Layers, region: Region, activation: Activation) -> Float[Array, " out"]:
    """Rounding of the last layer alone, over a region."""
    *hidden, _ = preactivations(layers, region, activation)
    return affine_slack(*layers[-1], magnitude(image(activation, hidden[-1])) if hidden else region.largest)


def pair_noise(
    slack: Float[Array, " out"], layers: Layers, x: Float[Array, " obs"], activation: Activation
) -> Float[Array, " pair"]:
    """Rounding of `D_i - D_j` beyond that of `pairwise`, from the `slack` of the attacked outputs.

    Each output is rounded by itself, attacked and clean, however small `W_i - W_j` may be.
    """
    clean = clean_output(layers, x, activation)
    noise = slack + (clean.upper - clean.lower)
    return (noise[:, None] + noise[None, :]).reshape(-1)


def pairwise(layers: Layers) -> Layers:
    """The same network with all differences `z_i - z_j` as its outputs, at place `i * out + j`."""
    weight, bias = layers[-1]
    rows = (weight[:, None] - weight[None, :]).reshape(-1, weight.shape[1])
    return (*layers[:-1], (rows, (bias[:, None] - bias[None, :]).reshape(-1)))
