"""The SA regulariser by bounds: the largest change of the action that the ball can cause."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds import crown_ibp_box, interval_box
from jaxprune.policy import Agent, layers
from jaxprune.training.batch import Batch
from jaxprune.training.regularizers.api import Leaves, Moment, Regularizer, by_eps
from jaxprune.training.regularizers.sa_sgld import detached
from jaxprune.training.regularizers.schedule import BUDGET


def loss(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`kappa E_B sum_j max(|l_j|, |u_j|)^2 / sigma_j^2`, `[l, u]` holding `mu(s_hat) - mu(x)` over the ball.

    `l = b l_IBP + (1 - b) l_CROWN-IBP`, likewise u; b is the share of the budget that has been reached, so
    training ends with intervals, as published. The bounds are those of `bounds`, rounded outwards.
    """
    network = layers(agent.pruned().policy)
    mix = moment.eps / jnp.maximum(leaves["eps"], 1e-12)

    def largest(x: Float[Array, " obs"]) -> Float[Array, " act"]:
        loose, tight = (
            box(network, x, moment.eps, activation=agent.activation) for box in (interval_box, crown_ibp_box)
        )
        lower, upper = (mix * a + (1 - mix) * b for a, b in zip(loose, tight, strict=True))
        return jnp.maximum(jnp.abs(lower), jnp.abs(upper))

    spread = detached(agent, leaves["detach_std"]).log_std
    changes = jax.vmap(largest)(batch.x) * (1.0 if spread is None else jnp.exp(-spread))
    return leaves["kappa"] * jnp.sum(changes**2, axis=-1).mean()


SA_CONVEX = Regularizer(
    "sa-convex",
    "SA-PPO's regulariser, the worst point bounded by CROWN-IBP and intervals",
    {"kappa": 0.1, "detach_std": 0.0, **BUDGET},
    loss,
    growth=by_eps(loss),
    heads=("gaussian",),
)
"""Zhang et al., NeurIPS 2020 (arXiv 2003.08938)."""
