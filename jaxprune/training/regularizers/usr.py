"""USR: values that allow for a next state that the dynamics may have shifted."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.policy import Agent
from jaxprune.training.regularizers.api import Leaves, Regularizer


def next_value(
    agent: Agent, leaves: Leaves, key: PRNGKeyArray, x_next: Float[Array, " obs"], value: Float[Array, ""]
) -> Float[Array, ""]:
    """`V(s') - rho ||dV / ds'||_1`: the first-order worst value of an l_inf set of radius rho around s'.

    In units of the scaled reward and of normalised observations. A constant for the gradient.
    """
    slope = jax.grad(agent.state_value)(x_next)
    return value - leaves["rho"] * jnp.sum(jnp.abs(slope))


def published_next_value(
    agent: Agent, leaves: Leaves, key: PRNGKeyArray, x_next: Float[Array, " obs"], value: Float[Array, ""]
) -> Float[Array, ""]:
    """`V(s') - rho |V(s' + z)| ||z||_1`, the released code's one-sample estimate, z a Gaussian draw.

    It estimates no gradient but shrinks values: a constant added to V changes it. For comparison only.
    """
    z = jax.random.normal(key, x_next.shape)
    return value - leaves["rho"] * jnp.sum(jnp.abs(agent.state_value(x_next + z) * z))


USR = Regularizer("usr", "next values less rho times their slope", {"rho": 0.01}, next_value=next_value)
USR_PUBLISHED = Regularizer(
    "usr-published", "the released estimate of the same", {"rho": 1e-4}, next_value=published_next_value
)
"""After the uncertainty set regulariser of Zhang et al. (released with SAC); here in PPO's targets."""
