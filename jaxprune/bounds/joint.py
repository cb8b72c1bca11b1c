"""From linear bounds of a network to a bound on the size of its change, all outputs taken together.

The corner of a box of outputs is rarely reached: no observation is worst for all outputs at once. The square
of the distance, `sum_i D_i^2`, is one more layer of the network, and on `l_i <= D_i <= u_i` a square lies
below its chord: `D_i^2 <= (l_i + u_i) D_i - l_i u_i`. The right side, summed over i, is a single output
of a network, and one more row for the linear bounds. Chords are loose where an interval holds zero, so
the box is cut at zero first, and the bound is the largest over its pieces.
"""

from collections.abc import Sequence
from itertools import product as all_choices
from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.ball import Region
from jaxprune.bounds.change import Box, farthest_corner, magnitude
from jaxprune.bounds.interval import Inputs, affine_image, largest, pair_noise, pairwise
from jaxprune.bounds.linear import Hidden, inputs_after, preactivation, upper_limits
from jaxprune.bounds.rounding import affine_slack, exponent, outward, power, product
from jaxprune.policy import Layers

MOST_CUTS = 6  # outputs cut at zero: 2^6 pieces


class Worst(NamedTuple):
    """Upper bound on a size of the change over a region, and the observation features it is due to.

    bound: the bound itself. sensitivity: [obs], coefficients of the linear function behind it. Or
    both, stacked, one for each size.
    """

    bound: Float[Array, "*size"]
    sensitivity: Float[Array, "*size obs"]


def worst_euclidean(layers: Layers, clean: Inputs, hidden: tuple[Hidden, ...], region: Region) -> Worst:
    """Bound on `||D||_2` over the region, never above the farthest corner of the box of `D`.

    clean: what goes into the last layer at the observation itself. hidden: the hidden layers over the region.
    """
    box, unit = box_of_change(layers, clean, hidden, region)
    pieces = cut_at_zero(Box(box.lower / unit, box.upper / unit))
    squares, coefficients = squared_sizes(pieces, unit, layers, clean, hidden, region)
    worst = jnp.argmax(squares)
    distance = outward(jnp.sqrt(squares[worst]), box.lower.size) * unit
    distance = jnp.fmin(outward(distance, 0), farthest_corner(box))
    return Worst(distance, coefficients[worst])


def squared_euclidean(
    layers: Layers, clean: Inputs, hidden: tuple[Hidden, ...], region: Region
) -> Float[Array, ""]:
    """The square of `worst_euclidean`'s bound but for rounding: one to be differentiated, as a penalty is.

    Only the worst piece has a derivative, so the others are bounded without, which is most of the work.
    """
    box, unit = box_of_change(layers, clean, hidden, region)
    pieces = cut_at_zero(Box(box.lower / unit, box.upper / unit))
    given = unit, layers, clean, hidden, region
    worst = jnp.argmax(squared_sizes(pieces, *given)[0])
    alone = Box(pieces.lower[worst][None], pieces.upper[worst][None])
    return squared_sizes(alone, *given)[0][0] * unit**2


def box_of_change(
    layers: Layers, clean: Inputs, hidden: tuple[Hidden, ...], region: Region
) -> tuple[Box, Float[Array, ""]]:
    """The box of `D` over the region, and a power of two near its largest number: squares in such units stay
    in range.
    """
    at_x, box = affine_image(layers[-1], clean), preactivation(layers, hidden, region)
    box = Box(box.lower - at_x.upper, box.upper - at_x.lower)
    return box, power(exponent(jnp.max(magnitude(box))), box.lower.dtype)


def squared_sizes(
    pieces: Box,
    unit: Float[Array, ""],
    layers: Layers,
    clean: Inputs,
    hidden: tuple[Hidden, ...],
    region: Region,
) -> tuple[Float[Array, " piece"], Float[Array, "piece obs"]]:
    """Bounds on `||D / unit||_2^2` where `D / unit` lies in each piece, and the linear functions behind."""
    weight, bias = layers[-1]
    at_x = affine_image(layers[-1], clean)
    chords = pieces.lower + pieces.upper
    target = product(chords, weight), product(chords, bias - (at_x.lower + at_x.upper) / 2)
    limits, coefficients = upper_limits(target, layers, hidden, region)
    slack = affine_slack(weight, bias, largest(inputs_after(hidden, region))) + (at_x.upper - at_x.lower)
    corners = jnp.sum(magnitude(pieces) ** 2, axis=1)
    rounding = outward(corners, bias.size) - corners
    limits = (limits + product(jnp.abs(chords), slack)) / unit
    limits = limits - jnp.sum(pieces.lower * pieces.upper, axis=1) + rounding
    return jnp.maximum(jnp.fmin(limits, corners), jnp.finfo(limits.dtype).tiny), coefficients


def worst_span(layers: Layers, clean: Inputs, hidden: tuple[Hidden, ...], region: Region) -> Worst:
    """Bound on `max D - min D` over the region: the largest difference of two outputs. Arguments likewise."""
    pairs, attacked = pairwise(layers[-1]), inputs_after(hidden, region)
    limits, coefficients = upper_limits(pairs, layers, hidden, region)
    limits = limits + affine_slack(*pairs, largest(attacked))
    upper = jnp.minimum(limits, affine_image(pairs, attacked).upper)
    gaps = upper - affine_image(pairs, clean).lower + pair_noise(layers[-1], attacked, clean)
    worst = jnp.argmax(gaps)
    return Worst(gaps[worst], coefficients[worst])


SIZES = (worst_euclidean, worst_span)
"""In the order of a `Change`."""


def worst_of_each(
    layers: Layers, clean: Inputs, hidden: tuple[Hidden, ...], regions: Sequence[Region]
) -> Worst:
    """Bounds on both sizes, leaves [size], each over its own hidden layers, leaves [size], and region.

    What looks for the best hidden layers, size by size, so compiles them once.
    """
    worst = [
        size(layers, clean, jax.tree.map(itemgetter(index), hidden), region)
        for index, (size, region) in enumerate(zip(SIZES, regions, strict=True))
    ]
    return jax.tree.map(lambda *values: jnp.stack(values), *worst)


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
