"""Penalties on certified bounds of the policy's shift: differentiable, and sound all through training."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds import crown_bound, in_std_units, path_bound, spectral_product, squared_crown_bound
from jaxprune.policy import Agent, Layers, layers
from jaxprune.training.batch import Batch
from jaxprune.training.regularizers.api import Leaves, Moment, Regularizer, by_eps
from jaxprune.training.regularizers.sa_sgld import detached
from jaxprune.training.regularizers.schedule import BUDGET

EVERY = 16
"""Of so many states of a minibatch `d2-sampled` bounds one."""

D2_NUMBERS = {"weight": 0.1, "detach_std": 0.0, **BUDGET}


def in_own_units(agent: Agent) -> Layers:
    """The policy's layers, a Gaussian's in its own standard deviations."""
    network = layers(agent.pruned().policy)
    return network if agent.log_std is None else in_std_units(network, jnp.exp(agent.log_std))


def spectral(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`weight` times the product of spectral norms, by Gram iteration, that bounds delta everywhere."""
    change = spectral_product(in_own_units(agent), moment.eps, activation=agent.activation)
    return leaves["weight"] * (change.span if agent.discrete else change.euclidean)


def path(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`weight` times the path bound on delta, which no mask can raise."""
    change = path_bound(in_own_units(agent), moment.eps, activation=agent.activation)
    return leaves["weight"] * (change.span if agent.discrete else change.euclidean)


def squared_shift(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`weight E_B D(x)^2`, D(x) CROWN's bound on the shift, in standard deviations or as a span of logits.

    Summed over an episode, it is what the certificate on its return charges (`bounds.composition`). With
    `detach_std` 1 a wider policy is no gain.
    """
    network = in_own_units(detached(agent, leaves["detach_std"]))

    def bound(x: Float[Array, " obs"]) -> Float[Array, ""]:
        if agent.discrete:
            return crown_bound(network, x, moment.eps, activation=agent.activation).span ** 2
        return squared_crown_bound(network, x, moment.eps, activation=agent.activation)

    return leaves["weight"] * jnp.mean(jax.vmap(bound)(batch.x))


def squared_shift_at_some(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`squared_shift` at every 16th state of the minibatch, whose order is random: the same on average.

    Where a bound costs many times the loss of PPO, as on processors, this is most of an update's time.
    """
    return squared_shift(agent, batch.replace(x=batch.x[::EVERY]), leaves, moment)


LIPSCHITZ_SPECTRAL = Regularizer(
    "lipschitz-spectral", "the product of spectral norms as a penalty", {"weight": 1e-3, **BUDGET}, spectral
)
LIPSCHITZ_PATH = Regularizer(
    "lipschitz-path", "the path bound as a penalty", {"weight": 1e-3, **BUDGET}, path
)
D2 = Regularizer(
    "d2", "CROWN's squared shift as a penalty", D2_NUMBERS, squared_shift, growth=by_eps(squared_shift)
)
D2_SAMPLED = Regularizer(
    "d2-sampled",
    "the same at one state of 16, for a fraction of the time",
    D2_NUMBERS,
    squared_shift_at_some,
    growth=by_eps(squared_shift_at_some),
)
