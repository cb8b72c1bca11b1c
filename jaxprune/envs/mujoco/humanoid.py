"""The humanoid: qpos = (x, y, z, quaternion, joints...)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco.task import Motion, MujocoTask, inside, speed, uniform


def _humanoid_observation(motion: Motion) -> Float[Array, " obs"]:
    read = motion.readings
    parts = (read["cinert"], read["cvel"], read["qfrc_actuator"], read["cfrc_ext"])
    return jnp.concatenate([motion.qpos[2:], motion.qvel, *(part.ravel() for part in parts)])


def _humanoid_reward(before: Motion, after: Motion, action: Float[Array, " act"]) -> Float[Array, ""]:
    world = 0  # the subtree of the world is the whole body
    centre_before, centre_after = before.readings["subtree_com"], after.readings["subtree_com"]
    forward = speed(centre_before[world, 0], centre_after[world, 0], period=0.015)
    return 1.25 * forward + 5.0


def _humanoid_fell(after: Motion) -> Bool[Array, ""]:
    return ~inside(1.0, after.qpos[2], 2.0)


humanoid = MujocoTask(
    name="humanoid",
    about="a humanoid that walks forward",
    xml="humanoid.xml",
    frame_skip=5,
    action_limit=0.4,
    position_noise=uniform(1e-2),
    velocity_noise=uniform(1e-2),
    observe=_humanoid_observation,
    reward=_humanoid_reward,
    terminate=_humanoid_fell,
    effort=0.1,
    readings=("cinert", "cvel", "qfrc_actuator", "cfrc_ext", "subtree_com"),
    published_eps=0.075,
)
