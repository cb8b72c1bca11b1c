"""Maximal action difference (MAD): make the victim do anything but what it would have done."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Memory, Memoryless, Victim
from jaxprune.attacks.ascent import Gain, ascend
from jaxprune.budget import Ball
from jaxprune.policy import Categorical


def action_difference(victim: Victim, x: Float[Array, " obs"]) -> Gain:
    """How far `pi(.|s_hat)` is from `pi(.|x)`.

    Categorical: `KL(pi(.|x) || pi(.|s_hat))` in nats. Gaussian: `sum_i (sigma_min / sigma_i)^2 (mu_i(x) -
    mu_i(s_hat))^2 = 2 sigma_min^2 KL`. The factor leaves the maximiser where it is and keeps the number
    finite for a deterministic agent, whose published spread is exp(-100).
    """
    clean = victim.distribution(x)
    if isinstance(clean, Categorical):
        return lambda s_hat: clean.kl(Categorical(victim.output(s_hat)))
    weight = jnp.exp(jnp.min(clean.log_std) - clean.log_std)
    return lambda s_hat: jnp.sum((weight * (victim.output(s_hat) - clean.mean)) ** 2)


class Mad(Memoryless, struct.PyTreeNode):
    """Ascend the action difference (Zhang et al., NeurIPS 2020, arXiv 2003.08938).

    The gradient at the clean point is zero: the random start of `ascend` is what makes it move.
    """

    steps: int = struct.field(pytree_node=False, default=10)
    name: str = struct.field(pytree_node=False, default="mad")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The most different of the points tried."""
        return ascend(key, action_difference(victim, x), x, ball, self.steps), memory


class MadLangevin(Memoryless, struct.PyTreeNode):
    """The same ascent with stochastic gradient Langevin dynamics, the "SGLD" of SA-PPO.

    Step k follows `g + sqrt(2 T eps / steps) / (k + 2) z`, `z ~ N(0, I)`, with the length of a plain step;
    T is the temperature, published as 1, on the scale of `action_difference`. (The published code scales
    that by the mean spread instead of the smallest: the same thing when all spreads are equal.)
    """

    temperature: Float[Array, "*members"] | float = 1.0
    steps: int = struct.field(pytree_node=False, default=10)
    name: str = struct.field(pytree_node=False, default="mad-sgld")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The most different of the points tried."""
        start_key, noise_key = jax.random.split(key)
        spread = jnp.sqrt(2 * self.temperature * ball.eps / self.steps)

        def noise(k: Array) -> Float[Array, " obs"]:
            return spread / (k + 2) * jax.random.normal(jax.random.fold_in(noise_key, k), x.shape)

        return ascend(start_key, action_difference(victim, x), x, ball, self.steps, noise), memory
