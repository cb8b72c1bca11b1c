"""What attacks whose network is learned have in common."""

from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks.api import Memory, Memoryless, Victim
from jaxprune.budget import Ball
from jaxprune.errors import SpecError
from jaxprune.policy import Params, networks


class Learned(Memoryless, struct.PyTreeNode):
    """An attack whose action, the mean of a learned policy, decides which point is shown.

    network: parameters of that mean, which reads the true normalised observation, whatever the space of the
        attack; None before it is learned (`jaxprune.training.adversary`).
    """

    network: Params | None = None
    activation: str = struct.field(pytree_node=False, default="tanh")
    name: str = struct.field(pytree_node=False, default="")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The point that the network's action shows. Raises SpecError before it is learned."""
        if self.network is None:
            raise SpecError(f"attack: {self.name!r} has no network yet; train it first")
        action = networks.apply(self.network, victim.normalised(x), self.activation)
        return self.show(key, victim, x, ball, action), memory

    def show(
        self,
        key: PRNGKeyArray,
        victim: Victim,
        x: Float[Array, " obs"],
        ball: Ball,
        action: Float[Array, " out"],
    ) -> Float[Array, " obs"]:
        """The point that an action shows."""
        raise NotImplementedError
