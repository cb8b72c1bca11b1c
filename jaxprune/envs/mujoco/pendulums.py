"""Pendulums on a cart: qpos = (cart, angles...)."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco.task import Motion, MujocoTask, always, normal, uniform, unless


def _pendulum_observation(motion: Motion) -> Float[Array, " obs"]:
    return jnp.concatenate([motion.qpos, motion.qvel])


def pendulum_reward(
    before: Motion,
    after: Motion,
    action: Float[Array, " act"],
    healthy: Callable[[Motion], Bool[Array, ""]] = always,
) -> Float[Array, ""]:
    """1 where the pole is `healthy`."""
    return 1.0 * healthy(after)


def balanced(after: Motion) -> Bool[Array, ""]:
    """Whether the pole is within 0.2 rad of upright."""
    return jnp.abs(after.qpos[1]) <= 0.2


inverted_pendulum = MujocoTask(
    name="inverted_pendulum",
    about="a pole balanced on a cart",
    xml="inverted_pendulum.xml",
    frame_skip=2,
    action_limit=3.0,
    position_noise=uniform(0.01),
    velocity_noise=uniform(0.01),
    observe=_pendulum_observation,
    reward=pendulum_reward,
    terminate=unless(balanced),
)


def double_pendulum_observation(motion: Motion, forces: int | None = None) -> Float[Array, " obs"]:
    """Cart, sines and cosines of the angles, clipped rates, and the first `forces` forces of constraints."""
    cart, angles = motion.qpos[:1], motion.qpos[1:]
    felt = motion.readings["qfrc_constraint"][:forces]
    rates = jnp.clip(jnp.concatenate([motion.qvel, felt]), -10.0, 10.0)
    return jnp.concatenate([cart, jnp.sin(angles), jnp.cos(angles), rates])


def double_pendulum_reward(
    before: Motion,
    after: Motion,
    action: Float[Array, " act"],
    alive: float = 10.0,
    healthy: Callable[[Motion], Bool[Array, ""]] = always,
) -> Float[Array, ""]:
    """`alive` where the poles are `healthy`, less what the tip is off and the poles turn."""
    tip_x, _, tip_height = after.readings["site_xpos"][0]
    _, first, second = after.qvel
    off_target = 0.01 * tip_x**2 + (tip_height - 2.0) ** 2
    return alive * healthy(after) - off_target - 1e-3 * first**2 - 5e-3 * second**2


def tip_is_up(after: Motion) -> Bool[Array, ""]:
    """Whether the tip is higher than 1 m."""
    return after.readings["site_xpos"][0, 2] > 1.0


inverted_double_pendulum = MujocoTask(
    name="inverted_double_pendulum",
    about="two poles, one upon the other, balanced on a cart",
    xml="inverted_double_pendulum.xml",
    frame_skip=5,
    action_limit=1.0,
    position_noise=uniform(0.1),
    velocity_noise=normal(0.1),
    observe=double_pendulum_observation,
    reward=double_pendulum_reward,
    terminate=unless(tip_is_up),
    readings=("qfrc_constraint", "site_xpos"),
)
