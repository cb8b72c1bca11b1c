"""The gym-MuJoCo locomotion tasks, each as pure functions of the motion.

Every task follows Gymnasium's `-v4` environment of the same name, a descendant of the ones in the literature:
https://gymnasium.farama.org/environments/mujoco/. The episodes last at most `HORIZON` steps. Units are SI.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.task import Motion, Noise, Task

HORIZON = 1000


def uniform(scale: float) -> Noise:
    """Noise that is uniform in [-scale, scale]."""
    return partial(jax.random.uniform, minval=-scale, maxval=scale)


def normal(scale: float) -> Noise:
    """Gaussian noise with standard deviation `scale`."""
    return lambda key, shape: scale * jax.random.normal(key, shape)


def _inside(low: float, value: Array, high: float) -> Bool[Array, ""]:
    return ((low < value) & (value < high)).all()


def _never(after: Motion) -> Bool[Array, ""]:
    return jnp.zeros((), bool)


def _speed(before: Array, after: Array, period: float) -> Float[Array, ""]:
    """Mean forward speed in m/s over a control period of `period` seconds."""
    return (after - before) / period


# Planar runners: qpos = (x, z, pitch, joints...)


def _planar_observation(motion: Motion, fastest: float = jnp.inf) -> Float[Array, " obs"]:
    return jnp.concatenate([motion.qpos[1:], jnp.clip(motion.qvel, -fastest, fastest)])


def _planar_reward(before: Motion, after: Motion, *, period: float, alive: float) -> Float[Array, ""]:
    return _speed(before.qpos[0], after.qpos[0], period) + alive


def _hopper_fell(after: Motion) -> Bool[Array, ""]:
    _, height, pitch = after.qpos[:3]
    bounded = _inside(-100.0, after.qpos[2:], 100.0) & _inside(-100.0, after.qvel, 100.0)
    return ~(bounded & (height > 0.7) & _inside(-0.2, pitch, 0.2))


def _walker_fell(after: Motion) -> Bool[Array, ""]:
    _, height, pitch = after.qpos[:3]
    return ~(_inside(0.8, height, 2.0) & _inside(-1.0, pitch, 1.0))


hopper = Task(
    xml="hopper.xml",
    frame_skip=4,
    action_limit=1.0,
    position_noise=uniform(5e-3),
    velocity_noise=uniform(5e-3),
    observe=partial(_planar_observation, fastest=10.0),
    reward=partial(_planar_reward, period=0.008, alive=1.0),
    terminate=_hopper_fell,
    effort=1e-3,
    mjx_iterations=8,
    mjx_ls_iterations=4,
    published_eps=0.075,
)

walker2d = Task(
    xml="walker2d.xml",
    frame_skip=4,
    action_limit=1.0,
    position_noise=uniform(5e-3),
    velocity_noise=uniform(5e-3),
    observe=partial(_planar_observation, fastest=10.0),
    reward=partial(_planar_reward, period=0.008, alive=1.0),
    terminate=_walker_fell,
    effort=1e-3,
    mjx_iterations=8,
    mjx_ls_iterations=4,
    published_eps=0.05,
)

halfcheetah = Task(
    xml="half_cheetah.xml",
    frame_skip=5,
    action_limit=1.0,
    position_noise=uniform(0.1),
    velocity_noise=normal(0.1),
    observe=_planar_observation,
    reward=partial(_planar_reward, period=0.05, alive=0.0),
    terminate=_never,
    effort=0.1,
    mjx_iterations=8,
    mjx_ls_iterations=4,
    published_eps=0.15,
)


# Free bodies: qpos = (x, y, z, quaternion, joints...)


def _ant_observation(motion: Motion) -> Float[Array, " obs"]:
    return jnp.concatenate([motion.qpos[2:], motion.qvel])


def _ant_reward(before: Motion, after: Motion) -> Float[Array, ""]:
    torso = 1
    speed = _speed(before.readings["xpos"][torso, 0], after.readings["xpos"][torso, 0], period=0.05)
    return speed + 1.0


def _ant_fell(after: Motion) -> Bool[Array, ""]:
    height = after.qpos[2]
    return (height < 0.2) | (height > 1.0)


ant = Task(
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


def _ant_contact_reward(before: Motion, after: Motion) -> Float[Array, ""]:
    return _ant_reward(before, after) - 5e-4 * jnp.square(_contact_forces(after)).sum()


ant_contact = replace(
    ant,
    observe=_ant_contact_observation,
    reward=_ant_contact_reward,
    readings=("xpos", "cfrc_ext"),
)
"""Gymnasium's ant with `use_contact_forces=True`: the 111 features that the published agents read."""


def _humanoid_observation(motion: Motion) -> Float[Array, " obs"]:
    read = motion.readings
    parts = (read["cinert"], read["cvel"], read["qfrc_actuator"], read["cfrc_ext"])
    return jnp.concatenate([motion.qpos[2:], motion.qvel, *(part.ravel() for part in parts)])


def _humanoid_reward(before: Motion, after: Motion) -> Float[Array, ""]:
    world = 0  # the subtree of the world is the whole body
    centre_before, centre_after = before.readings["subtree_com"], after.readings["subtree_com"]
    speed = _speed(centre_before[world, 0], centre_after[world, 0], period=0.015)
    return 1.25 * speed + 5.0


def _humanoid_fell(after: Motion) -> Bool[Array, ""]:
    return ~_inside(1.0, after.qpos[2], 2.0)


humanoid = Task(
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


# Pendulums: qpos = (cart, angles...)


def _pendulum_observation(motion: Motion) -> Float[Array, " obs"]:
    return jnp.concatenate([motion.qpos, motion.qvel])


def _pendulum_reward(before: Motion, after: Motion) -> Float[Array, ""]:
    return jnp.ones(())


def _pendulum_fell(after: Motion) -> Bool[Array, ""]:
    return jnp.abs(after.qpos[1]) > 0.2


inverted_pendulum = Task(
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


def _double_pendulum_reward(before: Motion, after: Motion) -> Float[Array, ""]:
    tip_x, _, tip_height = after.readings["site_xpos"][0]
    _, first, second = after.qvel
    off_target = 0.01 * tip_x**2 + (tip_height - 2.0) ** 2
    return 10.0 - off_target - 1e-3 * first**2 - 5e-3 * second**2


def _double_pendulum_fell(after: Motion) -> Bool[Array, ""]:
    return after.readings["site_xpos"][0, 2] <= 1.0


inverted_double_pendulum = Task(
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

TASKS = {
    "hopper": hopper,
    "walker2d": walker2d,
    "halfcheetah": halfcheetah,
    "ant": ant,
    "ant-contact": ant_contact,
    "humanoid": humanoid,
    "inverted_pendulum": inverted_pendulum,
    "inverted_double_pendulum": inverted_double_pendulum,
}
