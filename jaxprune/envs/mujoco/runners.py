"""Runners in a plane: qpos = (x, z, pitch, joints...)."""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco.task import Motion, MujocoTask, inside, never, normal, speed, uniform


def _planar_observation(motion: Motion, fastest: float = jnp.inf) -> Float[Array, " obs"]:
    return jnp.concatenate([motion.qpos[1:], jnp.clip(motion.qvel, -fastest, fastest)])


def _planar_reward(
    before: Motion, after: Motion, action: Float[Array, " act"], *, period: float, alive: float
) -> Float[Array, ""]:
    return speed(before.qpos[0], after.qpos[0], period) + alive


def _hopper_fell(after: Motion) -> Bool[Array, ""]:
    _, height, pitch = after.qpos[:3]
    bounded = inside(-100.0, after.qpos[2:], 100.0) & inside(-100.0, after.qvel, 100.0)
    return ~(bounded & (height > 0.7) & inside(-0.2, pitch, 0.2))


def _walker_fell(after: Motion) -> Bool[Array, ""]:
    _, height, pitch = after.qpos[:3]
    return ~(inside(0.8, height, 2.0) & inside(-1.0, pitch, 1.0))


hopper = MujocoTask(
    name="hopper",
    about="one leg that hops forward",
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

walker2d = MujocoTask(
    name="walker2d",
    about="two legs that walk forward in a plane",
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

halfcheetah = MujocoTask(
    name="halfcheetah",
    about="a cheetah of two legs that runs in a plane",
    xml="half_cheetah.xml",
    frame_skip=5,
    action_limit=1.0,
    position_noise=uniform(0.1),
    velocity_noise=normal(0.1),
    observe=_planar_observation,
    reward=partial(_planar_reward, period=0.05, alive=0.0),
    terminate=never,
    effort=0.1,
    mjx_iterations=8,
    mjx_ls_iterations=4,
    published_eps=0.15,
)
