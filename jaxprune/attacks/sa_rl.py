"""The adversary of SA-RL: a learned policy whose action is the perturbation."""

from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Victim
from jaxprune.attacks.learned import Learned
from jaxprune.budget import Ball


def offset(ball: Ball, action: Float[Array, " obs"]) -> Float[Array, " obs"]:
    """An adversary's action as a perturbation.

    l_inf: `eps clip(action, -1, 1)`. l_2: the action projected onto the unit ball, times eps (ours; the
    papers have l_inf only). Training draws the action, evaluation takes its mean; both pass through here.
    """
    return ball.eps * Ball(1.0, ball.norm).project(action)


class SaRl(Learned):
    """SA-RL (Zhang et al., ICLR 2021, arXiv 2101.08452): PPO trained on the victim's negated reward.

    The adversary's mean, [obs] -> [obs], is the perturbation; the key is not used.
    """

    name: str = struct.field(pytree_node=False, default="sa-rl")

    def show(
        self,
        key: PRNGKeyArray,
        victim: Victim,
        x: Float[Array, " obs"],
        ball: Ball,
        action: Float[Array, " obs"],
    ) -> Float[Array, " obs"]:
        """The action, scaled into the ball."""
        return x + offset(ball, action)

    def action_size(self, observation_size: int, action_size: int) -> int:
        """Length of the adversary's action, against a victim of these sizes: the perturbation itself."""
        return observation_size
