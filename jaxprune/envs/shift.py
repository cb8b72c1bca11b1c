"""Shifted dynamics: a body that is heavier, weaker, on ice, ... than the one its task describes."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.errors import SpecError


class Shift(struct.PyTreeNode):
    """Factors of a body's physical constants, 1 for what the task has.

    mass: of all masses and moments of inertia. friction: of all geoms, for MuJoCo takes the larger friction
    of the two that touch. gravity: of its acceleration. damping: of all joints. gear: of all actuators, so of
    the force that an action exerts.
    """

    mass: Float[Array, "*batch"] | float = 1.0
    friction: Float[Array, "*batch"] | float = 1.0
    gravity: Float[Array, "*batch"] | float = 1.0
    damping: Float[Array, "*batch"] | float = 1.0
    gear: Float[Array, "*batch"] | float = 1.0

    def broadcast_to(self, *shape: int) -> "Shift":
        """The same with an array of that shape, in float32, for every parameter, as `vmap` needs it."""
        return jax.tree.map(lambda factor: jnp.broadcast_to(jnp.asarray(factor, jnp.float32), shape), self)

    @property
    def factors(self) -> Float[Array, "*batch parameter"]:
        """All of them, in the order of `PARAMETERS`."""
        return jnp.stack([jnp.asarray(getattr(self, name), jnp.float32) for name in PARAMETERS], axis=-1)


PARAMETERS = tuple(field.name for field in fields(Shift))
"""What can be shifted."""

_LEAST = {"mass": np.finfo(np.float32).tiny, "friction": 0.0, "damping": 0.0}


def check_shift(shift: Shift) -> None:
    """Raise SpecError, with parameter and value, for factors that leave no physics.

    A mass must be above 0, friction and damping must not be negative, and all must be finite, in float32.
    Numbers that are traced are not known yet: where they are not finite, the episode fails at its first step.
    """
    for name in PARAMETERS:
        factor = getattr(shift, name)
        if isinstance(factor, Tracer):
            continue
        with np.errstate(over="ignore"):
            known = np.asarray(factor, np.float32).ravel()
        wrong = ~np.isfinite(known) | (known < _LEAST.get(name, -np.inf))
        if wrong.any():
            least = {"mass": " and above 0", "friction": " and at least 0", "damping": " and at least 0"}
            raise SpecError(
                f"{name}: a factor of {np.ravel(factor)[wrong][0]:g}; it must be finite{least.get(name, '')}"
            )


def check_range(low: Shift, high: Shift) -> None:
    """Raise SpecError unless every parameter of `low` is above 0 and not above that of `high`.

    In float32, in which they are drawn.
    """
    for name in PARAMETERS:
        with np.errstate(over="ignore"):
            least, most = (float(np.float32(getattr(end, name))) for end in (low, high))
        if not 0 < least <= most < np.inf:
            raise SpecError(f"{name}: cannot draw between {least:g} and {most:g}; it needs 0 < low <= high")


def draw_shift(key: PRNGKeyArray, low: Shift, high: Shift) -> Shift:
    """Every factor drawn by itself, log-uniformly between `low` and `high`; equal ones are the factor."""

    def one(key: PRNGKeyArray, least: Float[Array, ""], most: Float[Array, ""]) -> Float[Array, ""]:
        logarithm = jax.random.uniform(key, minval=jnp.log(least), maxval=jnp.log(most))
        return jnp.clip(jnp.exp(logarithm), least, most)

    keys = jax.random.split(key, len(PARAMETERS))
    return Shift(*jax.vmap(one)(keys, low.factors, high.factors))
