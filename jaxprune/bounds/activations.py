"""The activations a certificate exists for, each with what a bound must know about it.

A bound asks two things of an activation `f`: the range of its slope, and the extremes of `f(z) - a z` over an
interval for any slope `a`. With `a = 0` these are the image of the interval (interval bounds); with any other
`a` they are the intercepts of the two lines of slope `a` that enclose `f` there (linear bounds). So every
slope is sound, and choosing slopes is only a matter of tightness.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.rounding import activation_slack
from jaxprune.errors import SpecError
from jaxprune.policy import ACTIVATIONS

Ends = Float[Array, " neuron"]
"""The lower or upper ends of one interval per neuron, or something else of which each has one."""

Slope = Float[Array, "*choice neuron"]
"""The slope of a line per neuron, or several to choose from."""

Function = Callable[[Array], Array]
Extremes = Callable[[Slope, Ends, Ends], tuple[Slope, Slope]]
Slopes = Callable[[Ends, Ends], tuple[Ends, ...]]  # of an interval

NEWTON_STEPS = 2
SWISH_CELLS = 32
SWISH_CURVATURE = 0.5  # the largest |f''|, at 0
SWISH_SLOPES = (-0.09984, 1.09984)  # where f'' = 0, at z = -+2.39936, rounded outwards


@dataclass(frozen=True)
class Activation:
    """One activation.

    function: the activation itself, elementwise.
    slopes: least and largest value of its derivative.
    extremes: (slope, lower, upper) -> least and largest value of `function(z) - slope z` on [lower, upper],
        rounding not included (`enclose` adds it). The slope may have more leading axes than the interval.
    slope_range: (lower, upper) -> bounds on the derivative over the interval.
    extra_slopes: (lower, upper) -> slopes worth trying for a line around the function on this interval,
        besides those of the chord and of the tangent in the middle.
    limit: what its absolute value cannot exceed; it is never above that of its argument either.
    """

    function: Function
    slopes: tuple[float, float]
    extremes: Extremes
    slope_range: Slopes
    extra_slopes: Slopes = lambda lower, upper: ()
    limit: float = inf

    @property
    def steepest(self) -> float:
        """Its Lipschitz constant."""
        return max(abs(slope) for slope in self.slopes)


def _tanh_extremes(slope: Slope, lower: Ends, upper: Ends) -> tuple[Slope, Slope]:
    """At the ends, or where `1 - tanh(z)^2 = slope`: at `tanh z = t` with `t = -+sqrt(1 - slope)`."""
    tiny = jnp.finfo(slope.dtype).eps
    t = jnp.sqrt(jnp.clip(1 - slope, tiny, 1 - tiny))
    z = jnp.arctanh(t)
    peak = t - slope * z
    at_lower, at_upper = jnp.tanh(lower) - slope * lower, jnp.tanh(upper) - slope * upper
    least, largest = jnp.minimum(at_lower, at_upper), jnp.maximum(at_lower, at_upper)
    least = jnp.where((lower < -z) & (-z < upper), jnp.minimum(least, -peak), least)
    return least, jnp.where((lower < z) & (z < upper), jnp.maximum(largest, peak), largest)


def _tanh_end_tangents(lower: Ends, upper: Ends) -> tuple[Ends, Ends]:
    """Slopes of the lines through either end that touch tanh on the other side of zero, if there are such."""
    below, above = _tanh_touching(jnp.minimum(jnp.stack([lower, -upper]), 0))
    return below, above


def _tanh_touching(end: Slope) -> Slope:
    """Slope at the point d > 0 whose tangent meets tanh at `end < 0`, by Newton's method.

    With e = -end: `(1 - tanh(d)^2) (d + e) = tanh(d) + tanh(e)`, and d is at most e / 2, which it is for the
    cubic `z - z^3 / 3`; tanh bends more. A slope slightly off is sound as well: two steps leave 2e-6 at most.
    It is a constant for the gradient.
    """
    e = -jax.lax.stop_gradient(end)
    d = jnp.minimum(e / 2, jnp.log1p(2 * e) / 2)
    for _ in range(NEWTON_STEPS):
        t = jnp.tanh(d)
        rise = (1 - t**2) * (d + e)
        step = (rise - t - jnp.tanh(e)) / jnp.maximum(2 * t * rise, jnp.finfo(e.dtype).tiny)
        d = jnp.clip(d + step, 0, e / 2)
    return 1 - jnp.tanh(d) ** 2


def _convex_extremes(function: Function, valley: Function) -> Extremes:
    """Extremes of a convex `f` minus a line: the largest at an end, the least where `f` has the slope."""

    def extremes(slope: Slope, lower: Ends, upper: Ends) -> tuple[Slope, Slope]:
        at_lower, at_upper = function(lower) - slope * lower, function(upper) - slope * upper
        z = jnp.clip(valley(slope), lower, upper)
        least = jnp.minimum(jnp.minimum(at_lower, at_upper), function(z) - slope * z)
        return least, jnp.maximum(at_lower, at_upper)

    return extremes


def _elu_valley(slope: Slope) -> Slope:
    """Where elu has this slope: `elu'(z) = exp(z)` for z < 0."""
    return jnp.log(jnp.clip(slope, jnp.finfo(slope.dtype).tiny, 1))


def _swish_extremes(slope: Slope, lower: Ends, upper: Ends) -> tuple[Slope, Slope]:
    """Extremes on a grid, plus what a curve of bounded curvature can do between two grid points.

    Between neighbours at distance h a function with |f''| <= c leaves its chord by at most `c h^2 / 8`.
    """
    width = upper - lower
    shares = jnp.linspace(0, 1, SWISH_CELLS + 1, dtype=lower.dtype)
    z = lower + width * shares.reshape(-1, *(1,) * slope.ndim)
    gap = jax.nn.swish(z) - slope * z
    between = SWISH_CURVATURE * (width / SWISH_CELLS) ** 2 / 8
    return gap.min(axis=0) - between, gap.max(axis=0) + between


def _tanh_slope_range(lower: Ends, upper: Ends) -> tuple[Ends, Ends]:
    """The slope falls with the distance from zero."""
    nearest = jnp.maximum(jnp.maximum(lower, -upper), 0)
    farthest = jnp.maximum(jnp.abs(lower), jnp.abs(upper))
    return 1 - jnp.tanh(farthest) ** 2, 1 - jnp.tanh(nearest) ** 2


def _relu_slope_range(lower: Ends, upper: Ends) -> tuple[Ends, Ends]:
    """The slope is 0 or 1; at the kink it counts as either."""
    return (lower > 0).astype(lower.dtype), (upper >= 0).astype(upper.dtype)


def _elu_slope_range(lower: Ends, upper: Ends) -> tuple[Ends, Ends]:
    """The slope `exp(min(z, 0))` rises."""
    return jnp.exp(jnp.minimum(lower, 0)), jnp.exp(jnp.minimum(upper, 0))


def _swish_slope_range(lower: Ends, upper: Ends) -> tuple[Ends, Ends]:
    """The slope at the middle, and what bounded curvature makes of it on either side."""
    middle, bend = (lower + upper) / 2, SWISH_CURVATURE * (upper - lower) / 2
    _, slope = jax.jvp(jax.nn.swish, (middle,), (jnp.ones_like(middle),))
    return jnp.clip(slope - bend, *SWISH_SLOPES), jnp.clip(slope + bend, *SWISH_SLOPES)


_TANH, _RELU, _ELU, _SWISH = (ACTIVATIONS[name] for name in ("tanh", "relu", "elu", "swish"))

CERTIFIABLE: dict[str, Activation] = {
    "tanh": Activation(_TANH, (0.0, 1.0), _tanh_extremes, _tanh_slope_range, _tanh_end_tangents, limit=1.0),
    "relu": Activation(_RELU, (0.0, 1.0), _convex_extremes(_RELU, jnp.zeros_like), _relu_slope_range),
    "elu": Activation(_ELU, (0.0, 1.0), _convex_extremes(_ELU, _elu_valley), _elu_slope_range),
    "swish": Activation(_SWISH, SWISH_SLOPES, _swish_extremes, _swish_slope_range),
}
"""The activations of the policy's table that bounds know, by their names there."""


def activation_named(name: str) -> Activation:
    """The entry of the table.

    Raises:
        SpecError: no certificate is known for this activation.
    """
    if name not in CERTIFIABLE:
        raise SpecError(
            f"activation: no slope bound is known for {name!r}; a certificate needs one of "
            f"{', '.join(sorted(CERTIFIABLE))}"
        )
    return CERTIFIABLE[name]


def enclose(
    activation: Activation, slope: Slope, lower: Ends, upper: Ends, *, terms: int = 0
) -> tuple[Slope, Slope]:
    """Intercepts of two lines of this slope that enclose the activation on [lower, upper], rounded outwards.

    `slope z + low <= f(z) <= slope z + high` for every z in the interval, in real arithmetic and as computed,
    with room for the rounding of a sum over `terms` such lines.
    """
    low, high = activation.extremes(slope, lower, upper)
    farthest = jnp.maximum(jnp.abs(lower), jnp.abs(upper))
    size = jnp.maximum(jnp.abs(low), jnp.abs(high)) + 2 * jnp.abs(slope) * farthest
    slack = activation_slack(size, terms)
    return low - slack, high + slack
