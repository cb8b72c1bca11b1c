"""Robust sarsa (RS): make the victim take the action that a learned Q says is worst, alone and with MAD."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Memory, Memoryless, Victim
from jaxprune.attacks.ascent import Gain, ascend
from jaxprune.attacks.mad import action_difference
from jaxprune.budget import Ball
from jaxprune.policy import Categorical, Params, networks
from jaxprune.precision import PRECISION


def action_loss(victim: Victim, x: Float[Array, " obs"], critic: Params, activation: str) -> Gain:
    """`-Q(x, what the victim does at s_hat)`: the truth in Q, the lie in the policy.

    Gaussian: `-Q(x, mu(s_hat))`, the critic reading `concat(s, a)` [obs + act] and giving one number.
    Categorical: `-sum_a pi(a|s_hat) Q(x, a)`, the critic reading `x` [obs] and giving one number per action.
    The critic reads the normalised observation, whatever the space of the attack.
    """
    x_clean = victim.normalised(x)
    if isinstance(victim.distribution(x), Categorical):
        q = networks.apply(critic, x_clean, activation)
        return lambda s_hat: -jnp.dot(jax.nn.softmax(victim.output(s_hat)), q, precision=PRECISION)
    return lambda s_hat: (
        -networks.apply(critic, jnp.concatenate([x_clean, victim.output(s_hat)]), activation)[0]
    )


class Sarsa(Memoryless, struct.PyTreeNode):
    """Descend a Q learned for the frozen victim (Zhang et al., NeurIPS 2020, arXiv 2003.08938).

    critic: parameters of Q, see `action_loss`; how it is learned is the business of `training`.
    """

    critic: Params
    steps: int = struct.field(pytree_node=False, default=10)
    activation: str = struct.field(pytree_node=False, default="tanh")
    name: str = struct.field(pytree_node=False, default="sarsa")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The point tried whose action Q likes least."""
        gain = action_loss(victim, x, self.critic, self.activation)
        return ascend(key, gain, x, ball, self.steps), memory


class SarsaMad(Memoryless, struct.PyTreeNode):
    """RS+MAD: ascend `(1 - w) (-Q) + w D / act`, D being the action difference, `act` the action size.

    `weight` w in [0, 1] is searched per victim in the published tables. D is on the scale of
    `action_difference`: action units squared, or nats.
    """

    critic: Params
    weight: Float[Array, "*members"] | float = 0.5
    steps: int = struct.field(pytree_node=False, default=10)
    activation: str = struct.field(pytree_node=False, default="tanh")
    name: str = struct.field(pytree_node=False, default="sarsa+mad")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The best compromise of the points tried."""
        loss = action_loss(victim, x, self.critic, self.activation)
        difference = action_difference(victim, x)
        actions = victim.output(x).size

        def gain(s_hat: Float[Array, " obs"]) -> Float[Array, ""]:
            return (1 - self.weight) * loss(s_hat) + self.weight * difference(s_hat) / actions

        return ascend(key, gain, x, ball, self.steps), memory
