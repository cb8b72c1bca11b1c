"""The critic attack: show the victim what its own value network likes least."""

from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Memory, Memoryless, Victim
from jaxprune.attacks.ascent import ascend
from jaxprune.budget import Ball


class Critic(Memoryless, struct.PyTreeNode):
    """Descend `V(s_hat)` (Pattanaik et al. 2018, arXiv 1712.03632, as used in the SA-PPO tables).

    A weak attack: V values the state it is shown, while the true state stays `x`.
    """

    steps: int = struct.field(pytree_node=False, default=10)
    name: str = struct.field(pytree_node=False, default="critic")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The least valued of the points tried."""
        return ascend(key, lambda s_hat: -victim.state_value(s_hat), x, ball, self.steps), memory
