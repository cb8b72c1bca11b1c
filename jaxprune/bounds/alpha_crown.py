"""alpha-CROWN: CROWN with slopes that are optimised.

Reference: Xu et al., Fast and Complete: Enabling Complete Neural Network Verification with Rapid and
Massively Parallel Incomplete Verifiers, ICLR 2021.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxprune.bounds.activations import activation_named
from jaxprune.bounds.ball import Radius, ball
from jaxprune.bounds.change import Change
from jaxprune.bounds.crown import crown_hidden
from jaxprune.bounds.interval import clean_inputs
from jaxprune.bounds.joint import SIZES, worst_of_each
from jaxprune.bounds.linear import Hidden, Slopes, hidden_layers
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
    """CROWN with slopes improved by Adam, one pair per neuron and size; never above `crown_bound`.

    Every slope gives a sound bound, so the smallest of the `steps` bounds seen on the way is one. The first
    is that of CROWN.

    Raises:
        SpecError: an unknown norm or activation.
    """
    region, function = ball(x, eps, norm), activation_named(activation)
    clean = clean_inputs(layers, x, function)
    tightest = tuple(layer.slopes for layer in crown_hidden(layers, region, function))
    start = jax.tree.map(lambda slope: jnp.stack([slope] * len(SIZES)), tightest)
    adam = optax.adam(optax.exponential_decay(LEARNING_RATE, 1, DECAY))

    def with_lines(slopes: tuple[Slopes, ...]) -> tuple[Hidden, ...]:
        return hidden_layers(layers, region, function, lambda index, _: slopes[index])

    def bounds(slopes: tuple[Slopes, ...]) -> tuple[Float[Array, ""], Float[Array, " size"]]:
        hidden = jax.vmap(with_lines, axis_size=len(SIZES))(slopes)
        found = worst_of_each(layers, clean, hidden, [region] * len(SIZES)).bound
        return jnp.sum(found), found  # each has its own slopes, and so the sum has the gradient of either

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        slopes, moments, best = carry
        gradient, found = jax.grad(bounds, has_aux=True)(slopes)
        updates, moments = adam.update(gradient, moments)
        slopes = jax.tree.map(
            lambda slope, update: jnp.clip(slope + update, *function.slopes), slopes, updates
        )
        return (slopes, moments, jnp.fmin(best, found)), None

    nothing = jnp.full(len(SIZES), jnp.inf, x.dtype)
    (_, _, best), _ = jax.lax.scan(step, (start, adam.init(start), nothing), None, steps)
    return Change(*best)
