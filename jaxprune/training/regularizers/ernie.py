"""ERNIE: the action itself shall not change within the ball, whatever the policy's spread."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.policy import Agent, Gaussian, divergence
from jaxprune.training.batch import Batch
from jaxprune.training.regularizers.api import Leaves, Moment, Regularizer
from jaxprune.training.regularizers.ascent import STEPS, ascend
from jaxprune.training.regularizers.schedule import BUDGET

SMALLEST = 1e-12
"""Under a root, so that it has a gradient where nothing changes."""


def change(agent: Agent, x: Float[Array, " obs"], s_hat: Float[Array, " obs"]) -> Float[Array, ""]:
    """`||mu(s_hat) - mu(x)||_2`, or `KL(pi(.|x) || pi(.|s_hat))` for logits. What is done at x is fixed."""
    clean, attacked = jax.lax.stop_gradient(agent.distribution(x)), agent.distribution(s_hat)
    if isinstance(clean, Gaussian) and isinstance(attacked, Gaussian):
        return jnp.sqrt(jnp.sum((attacked.mean - clean.mean) ** 2) + SMALLEST)
    return divergence(clean, attacked)


def loss(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """`weight E_B D(x, s_hat)` at the point that an ascent on D finds: SA without its sigma."""
    frozen = jax.lax.stop_gradient(agent)
    s_hat = ascend(lambda x, s: change(frozen, x, s), batch.x, moment.eps, moment.key)
    return leaves["weight"] * jax.vmap(lambda x, s: change(agent, x, s))(batch.x, s_hat).mean()


def stackelberg(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
    """The same with the gradient going through the ascent: the policy foresees how the attack answers.

    The steps have length eps / STEPS in l2 and end in the l_inf ball: a sign has no derivative, and both
    forms would be the same.
    """

    def worst(x: Float[Array, " obs"], first: Float[Array, " obs"]) -> Float[Array, " obs"]:
        def step(s_hat: Float[Array, " obs"], _: None) -> tuple[Float[Array, " obs"], None]:
            slope = jax.grad(lambda s: change(agent, x, s))(s_hat)
            size = jnp.sqrt(jnp.sum(slope**2) + SMALLEST)
            onward = s_hat + moment.eps / STEPS * slope / size
            return x + jnp.clip(onward - x, -moment.eps, moment.eps), None

        return jax.lax.scan(step, first, length=STEPS)[0]

    start = batch.x + moment.eps / STEPS * jnp.sign(jax.random.normal(moment.key, batch.x.shape))
    return leaves["weight"] * jax.vmap(lambda x, s: change(agent, x, worst(x, s)))(batch.x, start).mean()


ERNIE = Regularizer(
    "ernie", "the change of the action itself, without the policy's spread", {"weight": 0.5, **BUDGET}, loss
)
ERNIE_STACKELBERG = Regularizer(
    "ernie-stackelberg",
    "the same, the gradient going through the attack",
    {"weight": 0.5, **BUDGET},
    stackelberg,
)
"""Bukharin et al., NeurIPS 2023 (arXiv 2310.10810)."""
