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
from jaxprune.bounds.interval import Inputs, affine_image, image, largest
from jaxprune.bounds.rounding import activation_slack, affine_slack, applied, product, smallest
from jaxprune.policy import Layer, Layers

NARROW = 1e-3  # below this width a chord is lost in rounding and the tangent serves


class Slopes(NamedTuple):
    """Slope of the line below and of the line above each activation of one layer."""

    below: Float[Array, " neuron"]
    above: Float[Array, " neuron"]


class Hidden(NamedTuple):
    """One hidden layer over a region: rounding of its pre-activations, lines around its activations.

    flushed: what coefficients that were flushed to zero in this layer may add to a limit.
    image: box of its activations.
    """

    slack: Float[Array, " neuron"]
    flushed: Float[Array, ""]
    slopes: Slopes
    intercepts: Slopes
    image: Box


ChooseSlopes = Callable[[int, Box], Slopes]


def hidden_layers(
    layers: Layers, region: Region, activation: Activation, choose: ChooseSlopes
) -> tuple[Hidden, ...]:
    """All hidden layers over a region, first to last; `choose(index, box)` gives the slopes of the lines."""
    hidden: tuple[Hidden, ...] = ()
    for index in range(len(layers) - 1):
        box = preactivation(layers, hidden, region)
        inputs = inputs_after(hidden, region)
        hidden = (*hidden, between_lines(layers[index], inputs, box, choose(index, box), activation))
    return hidden


def between_lines(layer: Layer, inputs: Inputs, box: Box, slopes: Slopes, activation: Activation) -> Hidden:
    """A hidden layer of these inputs and this box, its activations between lines of these slopes."""

    def lines(slope: Float[Array, " neuron"]) -> tuple[Float[Array, " neuron"], ...]:
        low, high = enclose(activation, slope, *box, terms=box.lower.size)
        return slope, low, high

    # What leaves a loop stands in memory. Otherwise a CPU program computes the lines anew for every row that
    # goes back through them, which takes a quarter more time.
    both, below, above = jax.lax.map(lines, jnp.stack(slopes))
    slopes = Slopes(*both)
    sizes = jnp.sum(largest(inputs)) + jnp.sum(magnitude(box)) + 8
    flushed = sum(layer[0].shape) * smallest(sizes.dtype) * sizes
    slack = affine_slack(*layer, largest(inputs))
    return Hidden(slack, flushed, slopes, Slopes(below[0], above[1]), image(activation, box))


def preactivation(layers: Layers, hidden: tuple[Hidden, ...], region: Region) -> Box:
    """Box of `W h + b` of the layer that stands on these hidden ones: linear bounds, cut with intervals."""
    weight, bias = layer = layers[len(hidden)]
    inputs = inputs_after(hidden, region)
    by_intervals = affine_image(layer, inputs)
    if not hidden:
        return by_intervals
    slack = affine_slack(weight, bias, largest(inputs))
    below, above = both_limits(layer, layers, hidden, region)
    return intersect(Box(below - slack, above + slack), by_intervals)


def inputs_after(hidden: tuple[Hidden, ...], region: Region) -> Inputs:
    """What goes into the layer that stands on these hidden ones."""
    return hidden[-1].image if hidden else region


def upper_limits(
    target: Layer, layers: Layers, hidden: tuple[Hidden, ...], region: Region
) -> tuple[Float[Array, " row"], Float[Array, "row obs"]]:
    """Upper bound of each row of `W h + b` over the region, and the linear function of `s_hat` behind it.

    `h` is what the last hidden layer emits. The rounding of `W h + b` itself is the caller's.
    """
    rows, limits = target
    of_hidden = zip(layers[: len(hidden)], hidden, strict=True)
    for (weight, bias), (slack, flushed, slopes, intercepts, _) in reversed([*of_hidden]):
        positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
        limits = limits + product(positive, intercepts.above) + product(negative, intercepts.below)
        rows = positive * slopes.above + negative * slopes.below
        limits = limits + product(rows, bias) + product(jnp.abs(rows), slack) + flushed
        rows = product(rows, weight)
    rounding = activation_slack(applied(jnp.abs(rows), region.largest), region.x.size)
    return limits + applied(rows, region.x) + region.support(rows) + rounding, rows


def both_limits(
    layer: Layer, layers: Layers, hidden: tuple[Hidden, ...], region: Region
) -> tuple[Float[Array, " row"], Float[Array, " row"]]:
    """Lower and upper bounds of `W h + b` over the region: `upper_limits` of the layer and of its negative.

    A coefficient w takes the line above where it is positive, else the one below: with the middle and half
    the difference of the two lines, `w middle + |w| half`. So the step through the last hidden layer is a
    product with `W` and one with `|W|`, which are the same at all states: no [row, neuron] array per state.
    """
    (weight, bias), (before, offset) = layer, layers[len(hidden) - 1]
    if 2 * weight.shape[0] < before.shape[1]:
        both = jnp.concatenate([-weight, weight]), jnp.concatenate([-bias, bias])
        return _below_and_above(both, layers, hidden, region)
    slack, flushed, slopes, intercepts, _ = hidden[-1]
    size = jnp.abs(weight)
    # Neurons last, as in `W h`: the other way round is a transpose of every array.
    below, above = (
        jnp.vstack([before.T * slope, offset * slope + cut])
        for slope, cut in zip(slopes, intercepts, strict=True)
    )
    middle = product((above + below) / 2, weight.T)
    half = product((above - below) / 2, size.T)
    steepest = jnp.maximum(jnp.abs(slopes.below), jnp.abs(slopes.above))
    noise = product(size, steepest * slack + flushed) + 2 * flushed
    limits = [half[-1] + sign * (middle[-1] + bias) + noise for sign in (-1, 1)]
    rows = [(half[:-1] + sign * middle[:-1]).T for sign in (-1, 1)]
    both = jnp.concatenate(rows), jnp.concatenate(limits)
    return _below_and_above(both, layers, hidden[:-1], region)


def _below_and_above(
    both: Layer, layers: Layers, hidden: tuple[Hidden, ...], region: Region
) -> tuple[Float[Array, " row"], Float[Array, " row"]]:
    """Lower and upper bounds from the rows of a layer's negative and, behind them, of the layer."""
    minus_below, above = jnp.split(upper_limits(both, layers, hidden, region)[0], 2)
    return -minus_below, above


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
