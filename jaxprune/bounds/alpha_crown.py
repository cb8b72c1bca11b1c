"""alpha-CROWN: CROWN with slopes that are optimised.

Reference: Xu et al., Fast and Complete: Enabling Complete Neural Network Verification with Rapid and
Massively Parallel Incomplete Verifiers, ICLR 2021.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxprune.bounds.activations import Activation, activation_named
from jaxprune.bounds.ball import Radius, Region, ball
from jaxprune.bounds.change import Change
from jaxprune.bounds.crown import crown_hidden
from jaxprune.bounds.joint import Size, worst_euclidean, worst_span
from jaxprune.bounds.linear import Slopes, hidden_layers
from jaxprune.policy import Layers

STEPS = 20
LEARNING_RATE, DECAY = 0.02, 0.95


def alpha_crown_bound(
    layers: Layers,
    x: Float[Array, " obs"],
    eps: Radius,
    *,
    norm: str = "linf",
    activation: str = "tanh",
    steps: int = STEPS,
) -> Change:
    """CROWN with slopes improved by Adam, one pair per neuron; never above `crown_bound`.

    Every slope gives a sound bound, so the smallest of the `steps` bounds seen on the way is one. The first
    is that of CROWN.

    Raises:
        SpecError: an unknown norm or activation.
    """
    region, function = ball(x, eps, norm), activation_named(activation)
    return Change(
        *(optimised(size, layers, region, function, steps) for size in (worst_euclidean, worst_span))
    )


def optimised(
    size: Size, layers: Layers, region: Region, activation: Activation, steps: int
) -> Float[Array, ""]:
    """Smallest bound on one size of the change that projected Adam on the slopes comes across."""
    start = tuple(layer.slopes for layer in crown_hidden(layers, region, activation))
    adam = optax.adam(optax.exponential_decay(LEARNING_RATE, 1, DECAY))

    def bound(slopes: tuple[Slopes, ...]) -> Float[Array, ""]:
        hidden = hidden_layers(layers, region, activation, lambda index, _: slopes[index])
        return size(layers, hidden, region, activation).bound

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        slopes, moments, best = carry
        value, gradient = jax.value_and_grad(bound)(slopes)
        updates, moments = adam.update(gradient, moments)
        slopes = jax.tree.map(
            lambda slope, update: jnp.clip(slope + update, *activation.slopes), slopes, updates
        )
        return (slopes, moments, jnp.fmin(best, value)), None

    nothing = jnp.asarray(jnp.inf, region.x.dtype)
    (_, _, best), _ = jax.lax.scan(step, (start, adam.init(start), nothing), None, steps)
    return best
