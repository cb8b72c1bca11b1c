"""CROWN: bounds on the change of a network's outputs around one observation.

Reference: Zhang et al., Efficient Neural Network Robustness Certification with General Activation Functions,
NeurIPS 2018. CROWN bounds each output by itself; the bound on all of them together is that of `joint.py`.
"""

from jaxtyping import Array, Float

from jaxprune.bounds.activations import Activation, activation_named
from jaxprune.bounds.ball import Radius, Region, ball
from jaxprune.bounds.change import Change
from jaxprune.bounds.interval import clean_inputs
from jaxprune.bounds.joint import worst_euclidean, worst_span
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


def crown_hidden(layers: Layers, region: Region, activation: Activation) -> tuple[Hidden, ...]:
    """The hidden layers with the lines that enclose the least area."""
    return hidden_layers(layers, region, activation, lambda _, box: tightest_slopes(activation, box))
