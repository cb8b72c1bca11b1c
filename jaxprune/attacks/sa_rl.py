"""The adversary of SA-RL: a learned policy whose action is the perturbation."""

from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Memory, Memoryless, Victim, learned
from jaxprune.budget import Ball
from jaxprune.policy import Params, networks


def offset(ball: Ball, action: Float[Array, " obs"]) -> Float[Array, " obs"]:
    """An adversary's action as a perturbation.

    l_inf: `eps clip(action, -1, 1)`. l_2: the action projected onto the unit ball, times eps (ours; the
    papers have l_inf only). Training draws the action, evaluation takes its mean; both pass through here.
    """
    return ball.eps * Ball(1.0, ball.norm).project(action)


class SaRl(Memoryless, struct.PyTreeNode):
    """SA-RL (Zhang et al., ICLR 2021, arXiv 2101.08452): PPO trained on the victim's negated reward.

    network: parameters of the adversary's mean, [obs] -> [obs]. It reads the true normalised observation,
    whatever the space of the attack. None before it is learned (`jaxprune.training.adversary`).
    """

    network: Params | None = None
    activation: str = struct.field(pytree_node=False, default="tanh")
    name: str = struct.field(pytree_node=False, default="sa-rl")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The adversary's mean action, scaled into the ball; the key is not used."""
        action = networks.apply(learned(self.name, self.network), victim.normalised(x), self.activation)
        return self.show(key, victim, x, ball, action), memory

    def show(
        self,
        key: PRNGKeyArray,
        victim: Victim,
        x: Float[Array, " obs"],
        ball: Ball,
        action: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        """The point that an action of the adversary shows."""
        return x + offset(ball, action)

    def action_size(self, observation_size: int, action_size: int) -> int:
        """Length of the adversary's action, against a victim of these sizes: the perturbation itself."""
        return observation_size
