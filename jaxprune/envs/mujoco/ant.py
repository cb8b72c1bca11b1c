"""The ant: qpos = (x, y, z, quaternion, joints...)."""

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco.task import Motion, MujocoTask, normal, speed, uniform


def _ant_observation(motion: Motion) -> Float[Array, " obs"]:
    return jnp.concatenate([motion.qpos[2:], motion.qvel])


def _ant_reward(before: Motion, after: Motion, action: Float[Array, " act"]) -> Float[Array, ""]:
    torso = 1
    forward = speed(before.readings["xpos"][torso, 0], after.readings["xpos"][torso, 0], period=0.05)
    return forward + 1.0


def _ant_fell(after: Motion) -> Bool[Array, ""]:
    height = after.qpos[2]
    return (height < 0.2) | (height > 1.0)


ant = MujocoTask(
    name="ant",
    about="four legs that walk forward",
    xml="ant.xml",
    frame_skip=5,
    action_limit=1.0,
    position_noise=uniform(0.1),
    velocity_noise=normal(0.1),
    observe=_ant_observation,
    reward=_ant_reward,
    terminate=_ant_fell,
    effort=0.5,
    readings=("xpos",),
    published_eps=0.15,
)


def _contact_forces(motion: Motion) -> Float[Array, " forces"]:
    return jnp.clip(motion.readings["cfrc_ext"], -1.0, 1.0).ravel()


def _ant_contact_observation(motion: Motion) -> Float[Array, " obs"]:
    return jnp.concatenate([_ant_observation(motion), _contact_forces(motion)])


def _ant_contact_reward(before: Motion, after: Motion, action: Float[Array, " act"]) -> Float[Array, ""]:
    return _ant_reward(before, after, action) - 5e-4 * jnp.square(_contact_forces(after)).sum()


ant_contact = replace(
    ant,
    name="ant-contact",
    about="the same with the contact forces that the published ants read",
    observe=_ant_contact_observation,
    reward=_ant_contact_reward,
    readings=("xpos", "cfrc_ext"),
)
"""Gymnasium's ant with `use_contact_forces=True`: the 111 features that the published agents read."""
