"""Linear bounds going backwards through a network: the machinery of CROWN.

Every activation is held between two lines over the interval of its pre-activation. Going back from the
outputs, each coefficient takes the line that its sign calls for, until a linear function of the observation
is left, whose largest value over the region is known. The intervals of the hidden layers come from the same
procedure, cut with interval bounds.

Reference: Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions,
NeurIPS 2018.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxprune.bounds.activations import Activation, enclose
from jaxprune.bounds.ball import Region
from jaxprune.bounds.change import Box, intersect, magnitude
from jaxprune.bounds.interval import affine_image, first_preactivation, image
from jaxprune.bounds.rounding import activation_slack, affine_slack, product, smallest
from jaxprune.policy import Layer, Layers

NARROW = 1e-3  # below this width a chord is lost in rounding and the tangent serves


class Slopes(NamedTuple):
    """Slope of the line below and of the line above each activation of one layer."""

    below: Float[Array, " neuron"]
    above: Float[Array, " neuron"]


class Hidden(NamedTuple):
    """One hidden layer: weights, rounding and box of its pre-activations, lines around its activations.

    flushed: what coefficients that were flushed to zero in this layer may add to a limit.
    """

    layer: Layer
    slack: Float[Array, " neuron"]
    flushed: Float[Array, ""]
    box: Box
    slopes: Slopes
    intercepts: Slopes


ChooseSlopes = Callable[[int, Box], Slopes]


def hidden_layers(
    layers: Layers, region: Region, activation: Activation, choose: ChooseSlopes
) -> tuple[Hidden, ...]:
    """All hidden layers over a region, first to last; `choose(index, box)` gives the slopes of the lines."""
    hidden: tuple[Hidden, ...] = ()
    for index, layer in enumerate(layers[:-1]):
        box = preactivation(layer, hidden, region, activation)
        largest = input_size(hidden, region, activation)
        hidden = (*hidden, between_lines(layer, box, choose(index, box), largest, activation))
    return hidden


def between_lines(
    layer: Layer, box: Box, slopes: Slopes, largest: Float[Array, " in"], activation: Activation
) -> Hidden:
    """A hidden layer of this box, its activations between lines of these slopes; `largest`: of its inputs."""
    below, _ = enclose(activation, slopes.below, *box, terms=slopes.below.size)
    _, above = enclose(activation, slopes.above, *box, terms=slopes.above.size)
    sizes = jnp.sum(largest) + jnp.sum(magnitude(box)) + 8
    flushed = sum(layer[0].shape) * smallest(sizes.dtype) * sizes
    return Hidden(layer, affine_slack(*layer, largest), flushed, box, slopes, Slopes(below, above))


def preactivation(layer: Layer, hidden: tuple[Hidden, ...], region: Region, activation: Activation) -> Box:
    """Box of `W h + b`, `h` what the last hidden layer emits: linear bounds, cut with interval bounds."""
    if not hidden:
        return first_preactivation(layer, region)
    weight, bias = layer
    both = jnp.concatenate([weight, -weight]), jnp.concatenate([bias, -bias])
    slack = slack_of(layer, hidden, region, activation)
    above, minus_below = jnp.split(upper_limits(both, hidden, region)[0], 2)
    linear = Box(-minus_below - slack, above + slack)
    return intersect(linear, affine_image(layer, image(activation, hidden[-1].box)))


def slack_of(
    layer: Layer, hidden: tuple[Hidden, ...], region: Region, activation: Activation
) -> Float[Array, " neuron"]:
    """Rounding of the pre-activations of a layer that stands on these hidden ones."""
    return affine_slack(*layer, input_size(hidden, region, activation))


def input_size(hidden: tuple[Hidden, ...], region: Region, activation: Activation) -> Float[Array, " _"]:
    """Bound on the absolute value of what goes into the layer that stands on these hidden ones."""
    return magnitude(image(activation, hidden[-1].box)) if hidden else region.largest


def upper_limits(
    target: Layer, hidden: tuple[Hidden, ...], region: Region
) -> tuple[Float[Array, " row"], Float[Array, "row obs"]]:
    """Upper bound of each row of `W h + b` over the region, and the linear function of `s_hat` behind it.

    The rounding of `W h + b` itself is the caller's: `slack_of` the layer.
    """
    rows, limits = target
    for (weight, bias), slack, flushed, _, slopes, intercepts in reversed(hidden):
        positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
        limits = limits + product(positive, intercepts.above) + product(negative, intercepts.below)
        rows = positive * slopes.above + negative * slopes.below
        limits = limits + product(rows, bias) + product(jnp.abs(rows), slack) + flushed
        rows = product(rows, weight)
    rounding = activation_slack(product(jnp.abs(rows), region.largest), region.x.size)
    return limits + product(rows, region.x) + region.support(rows) + rounding, rows


def tightest_slopes(activation: Activation, box: Box) -> Slopes:
    """Of all slopes worth trying, those whose line above is lowest, or below is highest, in the middle.

    The height of a line in the middle is the area under it, divided by the width of the interval.
    """
    lower, upper = box
    middle, width = (lower + upper) / 2, upper - lower
    _, tangent = jax.jvp(activation.function, (middle,), (jnp.ones_like(middle),))
    rise = activation.function(upper) - activation.function(lower)
    chord = jnp.where(width > NARROW, rise / jnp.maximum(width, NARROW), tangent)
    slopes = jnp.stack([tangent, chord, *activation.extra_slopes(lower, upper)])
    below, above = enclose(activation, slopes, lower, upper)

    def of(index: Int[Array, " neuron"]) -> Float[Array, " neuron"]:
        return jnp.take_along_axis(slopes, index[None], axis=0)[0]

    highest = jnp.argmax(below + slopes * middle, axis=0)
    lowest = jnp.argmin(above + slopes * middle, axis=0)
    return Slopes(of(highest), of(lowest))
