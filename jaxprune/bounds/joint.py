"""From linear bounds of a network to a bound on the size of its change, all outputs taken together.

The corner of a box of outputs is rarely reached: no observation is worst for all outputs at once. The square
of the distance, `sum_i D_i^2`, is one more layer of the network, and on `l_i <= D_i <= u_i` a square lies
below its chord: `D_i^2 <= (l_i + u_i) D_i - l_i u_i`. The right side, summed over i, is a single output
of a network, and one more row for the linear bounds. Chords are loose where an interval holds zero, so
the box is cut at zero first, and the bound is the largest over its pieces.
"""

from collections.abc import Callable
from itertools import product as all_choices
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.activations import Activation
from jaxprune.bounds.ball import Region
from jaxprune.bounds.change import Box, farthest_corner, magnitude
from jaxprune.bounds.interval import clean_output, pair_noise, pairwise
from jaxprune.bounds.linear import Hidden, preactivation, slack_of, upper_limits
from jaxprune.bounds.rounding import exponent, outward, power, product
from jaxprune.policy import Layers

MOST_CUTS = 6  # outputs cut at zero: 2^6 pieces


class Worst(NamedTuple):
    """Upper bound on a size of the change over a region, and the observation features it is due to.

    bound: the bound itself. sensitivity: [obs], coefficients of the linear function behind it.
    """

    bound: Float[Array, ""]
    sensitivity: Float[Array, " obs"]


Size = Callable[[Layers, tuple[Hidden, ...], Region, Activation], Worst]
"""What bounds one size of the change, given the hidden layers."""


def worst_euclidean(
    layers: Layers, hidden: tuple[Hidden, ...], region: Region, activation: Activation
) -> Worst:
    """Bound on `||D||_2` over the region, never above the farthest corner of the box of `D`."""
    weight, bias = layers[-1]
    clean = clean_output(layers, region.x, activation)
    box = preactivation(layers[-1], hidden, region, activation)
    box = Box(box.lower - clean.upper, box.upper - clean.lower)
    # In units of a power of two near its largest number, whose square stays in range.
    unit = power(exponent(jnp.max(magnitude(box))), bias.dtype)
    pieces = cut_at_zero(Box(box.lower / unit, box.upper / unit))
    chords = pieces.lower + pieces.upper
    target = product(chords, weight), product(chords, bias - (clean.lower + clean.upper) / 2)
    limits, coefficients = upper_limits(target, hidden, region)
    slack = slack_of(layers[-1], hidden, region, activation) + (clean.upper - clean.lower)
    corners = jnp.sum(magnitude(pieces) ** 2, axis=1)
    rounding = outward(corners, bias.size) - corners
    limits = (limits + product(jnp.abs(chords), slack)) / unit
    limits = limits - jnp.sum(pieces.lower * pieces.upper, axis=1) + rounding
    squares = jnp.maximum(jnp.fmin(limits, corners), jnp.finfo(limits.dtype).tiny)
    worst = jnp.argmax(squares)
    distance = outward(jnp.sqrt(squares[worst]), bias.size) * unit
    distance = jnp.fmin(outward(distance, 0), farthest_corner(box))
    return Worst(distance, coefficients[worst])


def worst_span(layers: Layers, hidden: tuple[Hidden, ...], region: Region, activation: Activation) -> Worst:
    """Bound on `max D - min D` over the region: the largest difference of two outputs."""
    pairs = pairwise(layers)
    clean = clean_output(pairs, region.x, activation)
    limits, coefficients = upper_limits(pairs[-1], hidden, region)
    limits = limits + slack_of(pairs[-1], hidden, region, activation)
    box = preactivation(pairs[-1], hidden, region, activation)
    slack = slack_of(layers[-1], hidden, region, activation)
    gaps = jnp.minimum(limits, box.upper) - clean.lower + pair_noise(slack, layers, region.x, activation)
    worst = jnp.argmax(gaps)
    return Worst(gaps[worst], coefficients[worst])


def cut_at_zero(box: Box) -> Box:
    """Pieces of a box, [piece, out], in which the outputs that reach farthest to both sides keep one sign.

    A piece that does not exist, as the output has one sign anyway, repeats another one.
    """
    count = min(MOST_CUTS, box.lower.size)
    _, cut = jax.lax.top_k(jnp.minimum(-box.lower, box.upper), count)
    signs = jnp.asarray(list(all_choices((False, True), repeat=count)))
    pieces = signs.shape[0]
    above = jnp.zeros((pieces, box.lower.size), bool).at[:, cut].set(signs)
    below = jnp.zeros((pieces, box.lower.size), bool).at[:, cut].set(~signs)
    crosses = (box.lower < 0) & (box.upper > 0)
    return Box(jnp.where(above & crosses, 0, box.lower), jnp.where(below & crosses, 0, box.upper))
