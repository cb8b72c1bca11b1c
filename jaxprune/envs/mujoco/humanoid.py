"""The humanoid: qpos = (x, y, z, quaternion, joints...)."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco.task import Motion, MujocoTask, always, inside, speed, uniform, unless

PARTS = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
"""The readings that are observed, in this order."""


def humanoid_observation(
    motion: Motion, skipped: int = 2, parts: Mapping[str, int] = MappingProxyType(dict.fromkeys(PARTS, 0))
) -> Float[Array, " obs"]:
    """Positions but the first ones, velocities, and of each of `parts` the rows from a number on."""
    read = [motion.readings[name][start:].ravel() for name, start in parts.items()]
    return jnp.concatenate([motion.qpos[skipped:], motion.qvel, *read])


def humanoid_reward(
    before: Motion,
    after: Motion,
    action: Float[Array, " act"],
    *,
    period: float = 0.015,
    alive: float = 5.0,
    weight: float = 1.25,
    healthy: Callable[[Motion], Bool[Array, ""]] = always,
) -> Float[Array, ""]:
    """`weight` times the speed of the centre of mass, and `alive` where the humanoid is `healthy`."""
    world = 0  # the subtree of the world is the whole body
    centre_before, centre_after = before.readings["subtree_com"], after.readings["subtree_com"]
    forward = speed(centre_before[world, 0], centre_after[world, 0], period)
    return weight * forward + alive * healthy(after)


def at_height(after: Motion, low: float = 1.0, high: float = 2.0) -> Bool[Array, ""]:
    """Whether the torso is at a height between `low` and `high`."""
    return inside(low, after.qpos[2], high)


humanoid = MujocoTask(
    name="humanoid",
    about="a humanoid that walks forward",
    xml="humanoid.xml",
    frame_skip=5,
    action_limit=0.4,
    position_noise=uniform(1e-2),
    velocity_noise=uniform(1e-2),
    observe=humanoid_observation,
    reward=humanoid_reward,
    terminate=unless(at_height),
    effort=0.1,
    readings=(*PARTS, "subtree_com"),
    published_eps=0.075,
)
