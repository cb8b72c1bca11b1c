"""The ant: qpos = (x, y, z, quaternion, joints...)."""

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco.task import Motion, MujocoTask, always, normal, speed, uniform, unless


def ant_observation(motion: Motion, skipped: int = 2) -> Float[Array, " obs"]:
    """All positions but the first ones, and the velocities."""
    return jnp.concatenate([motion.qpos[skipped:], motion.qvel])


def ant_reward(
    before: Motion,
    after: Motion,
    action: Float[Array, " act"],
    *,
    period: float = 0.05,
    alive: float = 1.0,
    weight: float = 1.0,
    torso: int = 1,
    healthy: Callable[[Motion], Bool[Array, ""]] = always,
) -> Float[Array, ""]:
    """`weight` times the speed of the body numbered `torso`, and `alive` where the ant is `healthy`."""
    forward = speed(before.readings["xpos"][torso, 0], after.readings["xpos"][torso, 0], period)
    return weight * forward + alive * healthy(after)


def stands(after: Motion, low: float = 0.2, high: float = 1.0) -> Bool[Array, ""]:
    """Whether the torso is at a height from `low` to `high`."""
    height = after.qpos[2]
    return (low <= height) & (height <= high)


ant = MujocoTask(
    name="ant",
    about="four legs that walk forward",
    xml="ant.xml",
    frame_skip=5,
    action_limit=1.0,
    position_noise=uniform(0.1),
    velocity_noise=normal(0.1),
    observe=ant_observation,
    reward=ant_reward,
    terminate=unless(stands),
    effort=0.5,
    readings=("xpos",),
    published_eps=0.15,
)


def contact_forces(motion: Motion, low: float = -1.0, high: float = 1.0) -> Float[Array, "body 6"]:
    """The forces and torques of contacts on every body, clipped."""
    return jnp.clip(motion.readings["cfrc_ext"], low, high)


def _ant_contact_observation(motion: Motion) -> Float[Array, " obs"]:
    return jnp.concatenate([ant_observation(motion), contact_forces(motion).ravel()])


def _ant_contact_reward(before: Motion, after: Motion, action: Float[Array, " act"]) -> Float[Array, ""]:
    return ant_reward(before, after, action) - 5e-4 * jnp.square(contact_forces(after)).sum()


ant_contact = replace(
    ant,
    name="ant-contact",
    about="the same with the contact forces that the published ants read",
    observe=_ant_contact_observation,
    reward=_ant_contact_reward,
    readings=("xpos", "cfrc_ext"),
)
"""Gymnasium's ant with `use_contact_forces=True`: the 111 features that the published agents read."""
