"""Noise: the attack that knows nothing of the victim."""

import jax
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Memory, Memoryless, Victim
from jaxprune.budget import Ball


class Uniform(Memoryless, struct.PyTreeNode):
    """`s_hat = x + d`, `d` uniform in the ball: the "random" column of the SA-PPO tables."""

    name: str = struct.field(pytree_node=False, default="random")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """A fresh draw at every step."""
        return x + ball.sample(key, x.size), memory


class Gaussian(Memoryless, struct.PyTreeNode):
    """`s_hat = x + project(eps z)`, `z ~ N(0, I)`: sensor noise of standard deviation eps, cut to the ball.

    In the l_inf ball 32 % of the coordinates end on its faces; in the l_2 ball, as soon as there are more
    than a few features, nearly every draw ends on its surface.
    """

    name: str = struct.field(pytree_node=False, default="random-gaussian")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """A fresh draw at every step."""
        noise = ball.eps * jax.random.normal(key, x.shape)
        return x + ball.project(noise), memory
