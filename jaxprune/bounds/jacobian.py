"""Local Lipschitz bound: the Jacobian of the network over the ball, as a matrix of intervals."""

from itertools import pairwise

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.activations import activation_named
from jaxprune.bounds.ball import Radius, ball, reach
from jaxprune.bounds.change import Box, Change, change_from_sizes, magnitude
from jaxprune.bounds.evaluation_error import propagated_error
from jaxprune.bounds.interval import Inputs, affine_image, image, largest
from jaxprune.bounds.rounding import activation_slack, product
from jaxprune.policy import Layers


def jacobian_bound(
    layers: Layers,
    x: Float[Array, " obs"],
    eps: Radius,
    *,
    norm: str = "linf",
    activation: str = "tanh",
) -> Change:
    """Bound on the change of the outputs by the mean value theorem: `D in [J] (s_hat - x)`.

    `[J] = W_L [F_{L-1}] W_{L-1} ... [F_1] W_1` in interval arithmetic, `[F]` the range of the activations'
    slopes over the interval bounds of the ball. So `|D_i|` is at most the reach of the row `sup |J_i|`, which
    is never above the row of `|W_L| sup F |W_{L-1}| ...`. Rounded outwards as `interval_bound`.

    Raises:
        SpecError: an unknown norm or activation.
    """
    function, region = activation_named(activation), ball(x, eps, norm)
    columns = Box(layers[0][0].T, layers[0][0].T)
    inputs: list[Inputs] = [region]
    for layer, (weight, _) in pairwise(layers):
        box = affine_image(layer, inputs[-1])
        slopes = Box(*function.slope_range(*box))
        columns = times(weight, scaled(slopes, columns))
        inputs.append(image(function, box))
    error = propagated_error(layers, [largest(of_layer) for of_layer in inputs], function)
    return change_from_sizes(reach(magnitude(columns).T, eps, norm) + 2 * error)


def scaled(slopes: Box, columns: Box) -> Box:
    """Neuron k of a matrix of intervals [obs, neuron] times the interval of slope k, rounded outwards."""
    ends = jnp.stack([end * column for end in slopes for column in columns])
    slack = activation_slack(jnp.max(jnp.abs(ends), axis=0), 0)
    return Box(jnp.min(ends, axis=0) - slack, jnp.max(ends, axis=0) + slack)


def times(weight: Float[Array, "out in"], columns: Box) -> Box:
    """A matrix times a matrix of intervals, in centre and radius form, rounded outwards: [obs, out].

    Neurons come last on both sides: the other way round, a batch of states would be transposed twice.
    """
    size = jnp.abs(weight.T)
    centre = product((columns.lower + columns.upper) / 2, weight.T)
    radius = product((columns.upper - columns.lower) / 2, size)
    slack = activation_slack(product(magnitude(columns), size), weight.shape[1])
    return Box(centre - radius - slack, centre + radius + slack)
