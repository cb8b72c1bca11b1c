"""RADIAL: the surrogate of PPO under the worst likelihood ratio that the ball allows."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxprune.bounds import interval_box
from jaxprune.policy import Agent, layers
from jaxprune.policy.distributions import LOG_2PI
from jaxprune.training.batch import Batch
from jaxprune.training.regularizers.api import Leaves, Moment, Regularizer
from jaxprune.training.regularizers.schedule import BUDGET


def log_prob_range(
    agent: Agent,
    x: Float[Array, " obs"],
    action: Float[Array, " act"] | Int[Array, ""],
    eps: Float[Array, ""] | float,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The least and the largest log-probability of an action over the l_inf ball around x, by intervals.

    Gaussian: with `mu in [l, u]`, `-1/2 sum (d / sigma)^2 + c` for the farthest `|u - a|`, `|l - a|` and the
    nearest `max(a - u, l - a, 0)`. Categorical: the logits of the ball that are worst, and best, for it.
    """
    change = interval_box(layers(agent.pruned().policy), x, eps, activation=agent.activation)
    output = agent.output(x)
    lower, upper = output + change.lower, output + change.upper
    if agent.log_std is None:
        chosen = jax.nn.one_hot(action, output.size, dtype=bool)
        least = jax.nn.log_softmax(jnp.where(chosen, lower, upper))[action]
        return least, jax.nn.log_softmax(jnp.where(chosen, upper, lower))[action]
    far = jnp.maximum(jnp.abs(upper - action), jnp.abs(lower - action))
    near = jnp.maximum(jnp.maximum(action - upper, lower - action), 0.0)
    constant = jnp.sum(2 * agent.log_std + LOG_2PI)
    least, largest = (jnp.sum((d * jnp.exp(-agent.log_std)) ** 2) for d in (far, near))
    return -0.5 * (least + constant), -0.5 * (largest + constant)


def loss(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`kappa E_B (clean - adv)`, by which the surrogate becomes `(1 - kappa) clean + kappa adv`.

    `clean = min(r A, clip(r) A)`; adv is the least of `{r, clip r} x {clean, least, largest} x A`, r being
    ratios to the probability at the rollout. A is standardised throughout; the released code mixes raw and
    standardised advantages in one minimum.
    """
    advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    clean = jax.vmap(lambda x, action: agent.distribution(x).log_prob(action))(batch.x, batch.action)
    least, largest = jax.vmap(lambda x, a: log_prob_range(agent, x, a, moment.eps))(batch.x, batch.action)

    def surrogate(log_prob: Float[Array, " batch"]) -> Float[Array, " batch"]:
        ratio = jnp.exp(log_prob - batch.log_prob)
        clipped = jnp.clip(ratio, 1.0 - moment.clip, 1.0 + moment.clip)
        return jnp.minimum(ratio * advantage, clipped * advantage)

    of_clean = surrogate(clean)
    worst = jnp.minimum(of_clean, jnp.minimum(surrogate(least), surrogate(largest)))
    return leaves["kappa"] * (of_clean - worst).mean()


RADIAL = Regularizer(
    "radial",
    "RADIAL's surrogate under the worst likelihood ratio of the ball",
    {"kappa": 0.5, **BUDGET, "start": 0.25},
    loss,
    schedule="smooth",
)
"""Oikarinen et al., NeurIPS 2021 (arXiv 2008.01976)."""
