"""Pendulums on a cart: qpos = (cart, angles...)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco.task import Motion, MujocoTask, normal, uniform


def _pendulum_observation(motion: Motion) -> Float[Array, " obs"]:
    return jnp.concatenate([motion.qpos, motion.qvel])


def _pendulum_reward(before: Motion, after: Motion, action: Float[Array, " act"]) -> Float[Array, ""]:
    return jnp.ones(())


def _pendulum_fell(after: Motion) -> Bool[Array, ""]:
    return jnp.abs(after.qpos[1]) > 0.2


inverted_pendulum = MujocoTask(
    name="inverted_pendulum",
    about="a pole balanced on a cart",
    xml="inverted_pendulum.xml",
    frame_skip=2,
    action_limit=3.0,
    position_noise=uniform(0.01),
    velocity_noise=uniform(0.01),
    observe=_pendulum_observation,
    reward=_pendulum_reward,
    terminate=_pendulum_fell,
)


def _double_pendulum_observation(motion: Motion) -> Float[Array, " obs"]:
    cart, angles = motion.qpos[:1], motion.qpos[1:]
    forces = motion.readings["qfrc_constraint"]
    rates = jnp.clip(jnp.concatenate([motion.qvel, forces]), -10.0, 10.0)
    return jnp.concatenate([cart, jnp.sin(angles), jnp.cos(angles), rates])


def _double_pendulum_reward(before: Motion, after: Motion, action: Float[Array, " act"]) -> Float[Array, ""]:
    tip_x, _, tip_height = after.readings["site_xpos"][0]
    _, first, second = after.qvel
    off_target = 0.01 * tip_x**2 + (tip_height - 2.0) ** 2
    return 10.0 - off_target - 1e-3 * first**2 - 5e-3 * second**2


def _double_pendulum_fell(after: Motion) -> Bool[Array, ""]:
    return after.readings["site_xpos"][0, 2] <= 1.0


inverted_double_pendulum = MujocoTask(
    name="inverted_double_pendulum",
    about="two poles, one upon the other, balanced on a cart",
    xml="inverted_double_pendulum.xml",
    frame_skip=5,
    action_limit=1.0,
    position_noise=uniform(0.1),
    velocity_noise=normal(0.1),
    observe=_double_pendulum_observation,
    reward=_double_pendulum_reward,
    terminate=_double_pendulum_fell,
    readings=("qfrc_constraint", "site_xpos"),
)
