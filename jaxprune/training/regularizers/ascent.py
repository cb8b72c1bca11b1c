"""Projected sign ascent on a minibatch: where in their balls the observations are worst."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

STEPS = 10
"""As published."""

Objective = Callable[[Float[Array, " obs"], Float[Array, " obs"]], Float[Array, ""]]
"""(x, s_hat) -> what shall be large."""


def ascend(
    objective: Objective,
    x: Float[Array, "batch obs"],
    eps: Float[Array, ""] | float,
    key: PRNGKeyArray,
    temperature: float = 0.0,
) -> Float[Array, "batch obs"]:
    """Points of the l_inf ball around each x, by `STEPS` sign steps of eps / STEPS from a random corner.

    Each follows the sign of `g + n_i z`, g the gradient of the mean over the batch, `z ~ N(0, I)` and
    `n_i = sqrt(2 (eps / STEPS) temperature) / (i + 2)`. A constant for the gradient.
    """
    start_key, noise_key = jax.random.split(key)
    stride = eps / STEPS
    slope = jax.grad(lambda s_hat: jax.vmap(objective)(x, s_hat).mean())

    def step(i: Array, s_hat: Float[Array, "batch obs"]) -> Float[Array, "batch obs"]:
        spread = jnp.sqrt(2 * stride * temperature) / (i + 2)
        noise = spread * jax.random.normal(jax.random.fold_in(noise_key, i), x.shape)
        return x + jnp.clip(s_hat + stride * jnp.sign(slope(s_hat) + noise) - x, -eps, eps)

    start = x + stride * jnp.sign(jax.random.normal(start_key, x.shape))
    return jax.lax.stop_gradient(jax.lax.fori_loop(0, STEPS, step, start))
