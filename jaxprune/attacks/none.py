"""No attack: the victim sees the truth."""

from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Memory, Memoryless, Victim
from jaxprune.budget import Ball


class Nothing(Memoryless, struct.PyTreeNode):
    """`s_hat = s`: the clean evaluation as a row of the same table."""

    name: str = struct.field(pytree_node=False, default="none")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The point itself."""
        return x, memory
