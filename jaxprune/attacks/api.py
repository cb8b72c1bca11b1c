"""What an attack is, what it may do (a ball) and what it knows (the victim).

An attack is a pytree: its settings that shape the program are static fields, its parameters are leaves, so
a learned adversary per member is just an attack whose leaves carry a member axis.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxprune.policy import Agent, Distribution

NORMS = ("linf", "l2")
SPACES = ("normalised", "raw")

Memory = Any
"""What an attack carries from step to step of an episode; `()` for most."""


@struct.dataclass
class Ball:
    """`{d : ||d|| <= eps}`; `eps` is a number, or for l_inf one number per feature [obs]."""

    eps: Float[Array, "..."] | float
    norm: str = struct.field(pytree_node=False, default="linf")

    def project(self, offset: Float[Array, " obs"]) -> Float[Array, " obs"]:
        """The nearest point of the ball."""
        if self.norm == "linf":
            return jnp.clip(offset, -self.eps, self.eps)
        return offset * jnp.minimum(1.0, self.eps / jnp.maximum(_length(offset), 1e-30))

    def sample(self, key: PRNGKeyArray, size: int) -> Float[Array, " obs"]:
        """A uniform draw from the ball."""
        if self.norm == "linf":
            return self.eps * jax.random.uniform(key, (size,), minval=-1.0, maxval=1.0)
        direction_key, radius_key = jax.random.split(key)
        direction = jax.random.normal(direction_key, (size,))
        radius = jax.random.uniform(radius_key) ** (1.0 / size)
        return self.eps * radius * direction / jnp.maximum(_length(direction), 1e-30)

    def steepest(self, gradient: Float[Array, " obs"]) -> Float[Array, " obs"]:
        """The point of the ball that goes furthest along a gradient: `eps sign(g)`, or `eps g / ||g||_2`."""
        if self.norm == "linf":
            return self.eps * jnp.sign(gradient)
        # Scaled to a largest entry of 1 first: the square of a tiny gradient is zero in float32.
        largest = jnp.max(jnp.abs(gradient))
        scaled = gradient / jnp.where(largest > 0, largest, 1.0)
        return self.eps * scaled / jnp.maximum(_length(scaled), 1.0)

    def contains(self, centre: Float[Array, " obs"], point: Float[Array, " obs"]) -> Bool[Array, ""]:
        """Whether `point` is in the ball around `centre`; False when anything is not finite.

        Allows the rounding of `centre + offset` and nothing more: four units in the last place.
        """
        slack = 4 * jnp.finfo(point.dtype).eps
        offset = point - centre
        if self.norm == "linf":
            return jnp.all(jnp.abs(offset) <= self.eps + slack * (jnp.abs(centre) + self.eps))
        return _length(offset) <= self.eps + slack * (_length(centre) + self.eps)


@struct.dataclass
class Victim:
    """The agent under attack, seen from the space in which `eps` lives.

    space "normalised": a point is the normalised, clipped observation; the perturbation is added to it and
    not clipped again. space "raw": a point is the observation in its own units, normalised afterwards.
    """

    agent: Agent
    space: str = struct.field(pytree_node=False, default="normalised")

    def point(self, observation: Float[Array, " obs"]) -> Float[Array, " obs"]:
        """A raw observation as a point of the attack's space."""
        return self.agent.normalise(observation) if self.space == "normalised" else observation

    def view(self, point: Float[Array, " obs"]) -> Float[Array, " obs"]:
        """What the networks read when they are shown `point`."""
        return point if self.space == "normalised" else self.agent.normalise(point)

    def output(self, point: Float[Array, " obs"]) -> Float[Array, " act"]:
        """Action mean or logits at a point."""
        return self.agent.output(self.view(point))

    def distribution(self, point: Float[Array, " obs"]) -> Distribution:
        """Action distribution at a point."""
        return self.agent.distribution(self.view(point))

    def state_value(self, point: Float[Array, " obs"]) -> Float[Array, ""]:
        """The value network's estimate at a point."""
        return self.agent.state_value(self.view(point))


@runtime_checkable
class Attack(Protocol):
    """A rule that perturbs one observation. It stays in the ball by itself; the evaluation only counts."""

    name: str

    def start(self, key: PRNGKeyArray, point: Float[Array, " obs"]) -> Memory:
        """The memory at the start of an episode."""

    def perturb(
        self,
        key: PRNGKeyArray,
        victim: Victim,
        point: Float[Array, " obs"],
        ball: Ball,
        memory: Memory,
    ) -> tuple[Float[Array, " obs"], Memory]:
        """The point shown to the victim instead of `point`, and the memory for the next step."""


class Memoryless:
    """An attack that carries nothing from one step to the next."""

    def start(self, key: PRNGKeyArray, point: Float[Array, " obs"]) -> Memory:
        """Nothing to remember."""
        return ()


def _length(vector: Float[Array, " n"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.sum(vector**2))
