"""The SA regulariser by Langevin ascent: the policy shall not change within the ball of the adversary."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.policy import Agent, Gaussian, divergence
from jaxprune.training.batch import Batch
from jaxprune.training.regularizers.api import Leaves, Moment, Regularizer
from jaxprune.training.regularizers.ascent import ascend
from jaxprune.training.regularizers.schedule import BUDGET

TEMPERATURE = 1e-5


def shift(agent: Agent, x: Float[Array, " obs"], s_hat: Float[Array, " obs"]) -> Float[Array, ""]:
    """`sum_j ((mu_j(s_hat) - mu_j(x)) / sigma_j)^2 = 2 KL`; for logits `2 KL(pi(.|x) || pi(.|s_hat))`.

    What the policy does at x is a constant.
    """
    clean, attacked = jax.lax.stop_gradient(agent.distribution(x)), agent.distribution(s_hat)
    if isinstance(clean, Gaussian) and isinstance(attacked, Gaussian):
        return jnp.sum(((attacked.mean - clean.mean) * jnp.exp(-attacked.log_std)) ** 2)
    return 2 * divergence(clean, attacked)


def worst(agent: Agent, batch: Batch, moment: Moment) -> Float[Array, "batch obs"]:
    """Where the shift of a minibatch is large."""
    frozen = jax.lax.stop_gradient(agent)
    return ascend(lambda x, s: shift(frozen, x, s), batch.x, moment.eps, moment.key, TEMPERATURE)


def detached(agent: Agent, share: Float[Array, ""] | float) -> Agent:
    """The agent with so much of its standard deviation a constant for the gradient: 0 or 1."""
    if agent.log_std is None:
        return agent
    constant = jax.lax.stop_gradient(agent.log_std)
    return agent.replace(log_std=share * constant + (1 - share) * agent.log_std)


def loss(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`kappa E_B R(x)` with R the `shift` to where the ascent ends, in the l_inf ball of normalised units.

    The gradient goes through `mu(s_hat)` and, unless `detach_std` is 1, through sigma: then inflating sigma
    pays as well.
    """
    s_hat, policy = worst(agent, batch, moment), detached(agent, leaves["detach_std"])
    return leaves["kappa"] * jax.vmap(lambda x, other: shift(policy, x, other))(batch.x, s_hat).mean()


def growth(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`kappa E sum_j |dR / ds_hat_j|` where the ascent ends: how R grows with eps at a corner of the ball."""
    slope = jax.vmap(jax.grad(lambda s, x: shift(agent, x, s)))(worst(agent, batch, moment), batch.x)
    return leaves["kappa"] * jnp.abs(slope).sum(-1).mean()


SA_SGLD = Regularizer(
    "sa-sgld",
    "SA-PPO's KL regulariser, the worst point sought by Langevin ascent",
    {"kappa": 1.0, "detach_std": 0.0, **BUDGET},
    loss,
    growth=growth,
)
"""Zhang et al., NeurIPS 2020 (arXiv 2003.08938), in the form of the released code."""
