"""CROWN: bounds on the change of a network's outputs around one observation.

Reference: Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions,
NeurIPS 2018. CROWN bounds each output by itself; the bound on all of them together is that of `joint.py`.
"""

from jaxtyping import Array, Float

from jaxprune.bounds.activations import Activation, activation_named
from jaxprune.bounds.ball import Radius, Region, ball
from jaxprune.bounds.change import Change
from jaxprune.bounds.interval import clean_inputs
from jaxprune.bounds.joint import squared_euclidean, worst_euclidean, worst_span
from jaxprune.bounds.linear import Hidden, hidden_layers, tightest_slopes
from jaxprune.policy import Layers


def crown_bound(
    layers: Layers,
    x: Float[Array, " obs"],
    eps: Radius,
    *,
    norm: str = "linf",
    activation: str = "tanh",
) -> Change:
    """CROWN bound, rounded outwards in the dtype of the inputs; never above `interval_bound`.

    Raises:
        SpecError: an unknown norm or activation.
    """
    region, function = ball(x, eps, norm), activation_named(activation)
    given = layers, clean_inputs(layers, x, function), crown_hidden(layers, region, function), region
    return Change(worst_euclidean(*given).bound, worst_span(*given).bound)


def squared_crown_bound(
    layers: Layers, x: Float[Array, " obs"], eps: Radius, *, activation: str = "tanh"
) -> Float[Array, ""]:
    """The square of `crown_bound(...).euclidean` in the l_inf ball, but for rounding, as a term of a loss.

    Its derivative is the same, and takes a third of the time where there are many outputs.
    """
    region, function = ball(x, eps, "linf"), activation_named(activation)
    hidden = crown_hidden(layers, region, function)
    return squared_euclidean(layers, clean_inputs(layers, x, function), hidden, region)


def crown_hidden(layers: Layers, region: Region, activation: Activation) -> tuple[Hidden, ...]:
    """The hidden layers with the lines that enclose the least area."""
    return hidden_layers(layers, region, activation, lambda _, box: tightest_slopes(activation, box))
