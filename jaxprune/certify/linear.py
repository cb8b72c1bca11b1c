"""Linear bounds, backwards (CROWN), and with optimised slopes (alpha-CROWN).

Every activation is held between two lines over the interval of its pre-activation. Going back from the
outputs, each coefficient takes the line that its sign calls for, until a linear function of the observation is
left, whose largest value over the region is known. The intervals of the hidden layers come from the same
procedure, intersected with interval bounds.

References: Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions,
NeurIPS 2018 (CROWN). Xu et al., Fast and Complete: Enabling Complete Neural Network Verification with Rapid
and Massively Parallel Incomplete Verifiers, ICLR 2021 (alpha-CROWN).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxprune.certify.activations import Activation, activation_named, enclose
from jaxprune.certify.ball import Radius, Region, ball
from jaxprune.certify.change import Box, Change, change_from_box, intersect, magnitude
from jaxprune.certify.interval import (
    affine_image,
    change_from_clean,
    first_preactivation,
    image,
    pairwise,
)
from jaxprune.certify.network import Layer, Layers
from jaxprune.certify.rounding import activation_slack, affine_slack, product


class Lines(NamedTuple):
    """Two lines around each activation of a layer: `slope z + intercept`, one below and one above.

    Each array is [neuron], or [row, neuron] where every row of a bound has its own.
    """

    slope_below: Float[Array, "..."]
    below: Float[Array, "..."]
    slope_above: Float[Array, "..."]
    above: Float[Array, "..."]


class Hidden(NamedTuple):
    """One hidden layer: its weights, the rounding and the box of its pre-activations, lines around what follows."""

    layer: Layer
    slack: Float[Array, " neuron"]
    box: Box
    lines: Lines


Pace = Callable[[Box, int], Lines]


def crown_bound(
    layers: Layers,
    state: Float[Array, " obs"],
    eps: Radius,
    *,
    norm: str = "linf",
    activation: str = "tanh",
) -> Change:
    """CROWN bound on the change of the outputs around one state, never above `interval_bound`.

    The span comes from linear bounds of the pairwise differences of the outputs.

    Raises:
        SpecError: an unknown norm or activation.
    """
    region = ball(state, eps, norm)
    box = crown_box(layers, region, activation)
    pairs = crown_box(pairwise(layers), region, activation)
    return Change(change_from_box(box).euclidean, jnp.max(pairs.upper))


def crown_box(layers: Layers, region: Region, activation: str) -> Box:
    """Box of the change of the outputs over a region, [out], rounded outwards in the dtype of the inputs."""
    function = activation_named(activation)
    hidden = hidden_layers(layers, region, function, lambda _, box: tightest_lines(function, box))
    return change_from_clean(layers, region.state, output_box(layers[-1], hidden, region, function), activation)


def hidden_layers(layers, region, activation, lines_for) -> tuple[Hidden, ...]:
    """Boxes and lines of all hidden layers, from the first to the last; `lines_for(index, box)` chooses lines."""
    hidden = ()
    for index, layer in enumerate(layers[:-1]):
        box = output_box(layer, hidden, region, activation)
        hidden = (*hidden, Hidden(layer, slack_of(layer, hidden, region, activation), box, lines_for(index, box)))
    return hidden


def output_box(layer, hidden, region, activation) -> Box:
    """Box of `W h + b`, `h` the activations of the last hidden layer: linear bounds, cut with interval bounds."""
    if not hidden:
        return first_preactivation(layer, region)
    weight, bias = layer
    both = upper_limits((jnp.concatenate([weight, -weight]), jnp.concatenate([bias, -bias])), hidden, region)
    slack = slack_of(layer, hidden, region, activation)
    linear = Box(-both[bias.size :] - slack, both[: bias.size] + slack)
    return intersect(linear, affine_image(layer, image(activation, hidden[-1].box)))


def slack_of(layer, hidden, region, activation):
    """Rounding of the pre-activations of a layer that stands on these hidden ones."""
    below = magnitude(image(activation, hidden[-1].box)) if hidden else region.largest
    return affine_slack(*layer, below)


def upper_limits(target: Layer, hidden: tuple[Hidden, ...], region: Region) -> Float[Array, " row"]:
    """Upper bounds of `W h + b`, one per row, by going back through the lines of every layer."""
    rows, limits = target
    for (weight, bias), slack, _, lines in reversed(hidden):
        positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
        limits = limits + jnp.sum(positive * lines.above + negative * lines.below, axis=1)
        rows = positive * lines.slope_above + negative * lines.slope_below
        limits = limits + product(rows, bias) + product(jnp.abs(rows), slack)
        rows = product(rows, weight)
    rounding = activation_slack(product(jnp.abs(rows), region.largest), region.state.size)
    return limits + product(rows, region.state) + region.support(rows) + rounding


def tightest_lines(activation: Activation, box: Box) -> Lines:
    """Of all slopes worth trying, the line above that is lowest in the middle, and the one below that is highest.

    The height in the middle is the area under the line divided by the width of the interval.
    """
    lower, upper = box
    middle, width = (lower + upper) / 2, upper - lower
    _, tangent = jax.jvp(activation.function, (middle,), (jnp.ones_like(middle),))
    rise = activation.function(upper) - activation.function(lower)
    chord = jnp.where(width > 1e-3, rise / jnp.maximum(width, 1e-3), tangent)
    slopes = jnp.stack([tangent, chord, *activation.extra_slopes(lower, upper)])
    below, above = enclose(activation, slopes, lower, upper, terms=lower.size)
    highest = jnp.argmax(below + slopes * middle, axis=0)[None]
    lowest = jnp.argmin(above + slopes * middle, axis=0)[None]

    def at(values, index):
        return jnp.take_along_axis(values, index, axis=0)[0]

    return Lines(at(slopes, highest), at(below, highest), at(slopes, lowest), at(above, lowest))
