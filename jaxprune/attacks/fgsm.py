"""Fast gradient sign method (FGSM): one gradient, one step to the edge of the ball."""

import jax
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Memory, Memoryless, Victim
from jaxprune.attacks.mad import action_difference
from jaxprune.budget import Ball


class Fgsm(Memoryless, struct.PyTreeNode):
    """`s_hat = x + eps sign(g)`, or `x + eps g / ||g||_2`, on the objective of MAD.

    After Huang et al. 2017 (arXiv 1702.02284). The objective is stationary at `x`, so `g` is its gradient
    at a uniformly random point of the ball; the step is taken from `x` and ends on the edge.
    """

    name: str = struct.field(pytree_node=False, default="fgsm")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The edge of the ball along one gradient."""
        slope = jax.grad(action_difference(victim, x))(x + ball.sample(key, x.size))
        return x + ball.steepest(slope), memory
