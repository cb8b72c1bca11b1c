"""What a rule that perturbs an observation is, and what it knows (the victim).

A rule is a pytree: its settings that shape the program are static fields, its parameters are leaves, so a
learned adversary per member is just a rule whose leaves carry a member axis.
"""

from typing import Any, Protocol, runtime_checkable

from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.budget import Ball
from jaxprune.policy import Agent, Distribution

Memory = Any
"""What an attack carries from step to step of an episode; `()` for most."""


class Victim(struct.PyTreeNode):
    """The agent under attack, seen from the space in which `eps` lives.

    space "normalised": x is the normalised, clipped observation; the perturbation is added to it and
    not clipped again. space "raw": x is the observation in its own units, normalised afterwards.
    """

    agent: Agent
    space: str = struct.field(pytree_node=False, default="normalised")

    def to_space(self, observation: Float[Array, " obs"]) -> Float[Array, " obs"]:
        """x: a raw observation in the space of eps."""
        return self.agent.normalise(observation) if self.space == "normalised" else observation

    def normalised(self, x: Float[Array, " obs"]) -> Float[Array, " obs"]:
        """What the networks read when they are shown x."""
        return x if self.space == "normalised" else self.agent.normalise(x)

    def output(self, x: Float[Array, " obs"]) -> Float[Array, " act"]:
        """Action mean or logits at x."""
        return self.agent.output(self.normalised(x))

    def distribution(self, x: Float[Array, " obs"]) -> Distribution:
        """Action distribution at x."""
        return self.agent.distribution(self.normalised(x))

    def state_value(self, x: Float[Array, " obs"]) -> Float[Array, ""]:
        """The value network's estimate at x."""
        return self.agent.state_value(self.normalised(x))


@runtime_checkable
class Rule(Protocol):
    """A rule that perturbs one observation. It stays in the ball by itself; the evaluation only counts."""

    name: str

    def start(self, key: PRNGKeyArray, x: Float[Array, " obs"]) -> Memory:
        """The memory at the start of an episode."""
        ...

    def perturb(
        self,
        key: PRNGKeyArray,
        victim: Victim,
        x: Float[Array, " obs"],
        ball: Ball,
        memory: Memory,
    ) -> tuple[Float[Array, " obs"], Memory]:
        """`s_hat`, what the victim is shown in place of x, and the memory for the next step."""
        ...


class Memoryless:
    """An attack that carries nothing from one step to the next."""

    def start(self, key: PRNGKeyArray, x: Float[Array, " obs"]) -> Memory:
        """Nothing to remember."""
        return ()
