"""The SA regulariser by Langevin ascent: the policy shall not change within the ball of the adversary."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.policy import Agent, Categorical
from jaxprune.training.batch import Batch
from jaxprune.training.regularizers.api import Leaves, Moment, Regularizer
from jaxprune.training.regularizers.schedule import linear

STEPS = 10
"""Of the ascent, as published."""

TEMPERATURE = 1e-5


def shift(agent: Agent, x: Float[Array, " obs"], s_hat: Float[Array, " obs"]) -> Float[Array, ""]:
    """`sum_j ((mu_j(s_hat) - mu_j(x)) / sigma_j)^2 = 2 KL`; for logits `2 KL(pi(.|x) || pi(.|s_hat))`.

    What is reached at x itself is a constant.
    """
    clean = jax.lax.stop_gradient(agent.output(x))
    if agent.log_std is None:
        return 2 * Categorical(clean).kl(Categorical(agent.output(s_hat)))
    return jnp.sum(((agent.output(s_hat) - clean) * jnp.exp(-agent.log_std)) ** 2)


def ascend(
    agent: Agent, x: Float[Array, "batch obs"], eps: Float[Array, ""] | float, key: PRNGKeyArray
) -> Float[Array, "batch obs"]:
    """Points of the l_inf ball around each x, by `STEPS` sign steps of eps / STEPS from a random corner.

    Each follows the sign of `g + n_i z`, g the gradient of the mean over the batch, `z ~ N(0, I)` and
    `n_i = sqrt(2 (eps / STEPS) TEMPERATURE) / (i + 2)`.
    """
    agent = jax.lax.stop_gradient(agent)
    start_key, noise_key = jax.random.split(key)
    stride = eps / STEPS
    slope = jax.grad(lambda s_hat: jax.vmap(lambda a, b: shift(agent, a, b))(x, s_hat).mean())

    def step(i: Array, s_hat: Float[Array, "batch obs"]) -> Float[Array, "batch obs"]:
        spread = jnp.sqrt(2 * stride * TEMPERATURE) / (i + 2)
        noise = spread * jax.random.normal(jax.random.fold_in(noise_key, i), x.shape)
        return x + jnp.clip(s_hat + stride * jnp.sign(slope(s_hat) + noise) - x, -eps, eps)

    start = x + stride * jnp.sign(jax.random.normal(start_key, x.shape))
    return jax.lax.stop_gradient(jax.lax.fori_loop(0, STEPS, step, start))


def loss(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`kappa E_B R(x)` with R the `shift` to where the ascent ends, in the l_inf ball of normalised units.

    The gradient goes through `mu(s_hat)` and, unless `detach_std` is 1, through sigma: then inflating sigma
    pays as well.
    """
    eps = leaves["eps"] * linear(moment.progress, leaves["ramp"])
    s_hat = ascend(agent, batch.x, eps, moment.key)
    if agent.log_std is not None:
        fixed = jax.lax.stop_gradient(agent.log_std)
        detached = leaves["detach_std"]
        agent = agent.replace(log_std=detached * fixed + (1 - detached) * agent.log_std)
    return leaves["kappa"] * jax.vmap(lambda x, other: shift(agent, x, other))(batch.x, s_hat).mean()


SA_SGLD = Regularizer(
    "sa-sgld",
    "SA-PPO's KL regulariser, the worst point sought by Langevin ascent",
    {"kappa": 1.0, "eps": 0.075, "ramp": 0.75, "detach_std": 0.0},
    loss,
)
"""Zhang et al., NeurIPS 2020 (arXiv 2003.08938), in the form of the released code."""
