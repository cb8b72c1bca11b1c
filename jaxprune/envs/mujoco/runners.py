"""Runners in a plane: qpos = (x, z, pitch, joints...)."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco.task import (
    Motion,
    MujocoTask,
    always,
    inside,
    never,
    normal,
    speed,
    uniform,
    unless,
)

Range = tuple[float, float]


def planar_observation(motion: Motion, skipped: int = 1, fastest: float = jnp.inf) -> Float[Array, " obs"]:
    """All positions but the first ones, and the velocities, clipped to what is `fastest`."""
    return jnp.concatenate([motion.qpos[skipped:], jnp.clip(motion.qvel, -fastest, fastest)])


def planar_reward(
    before: Motion,
    after: Motion,
    action: Float[Array, " act"],
    *,
    period: float,
    alive: float,
    weight: float = 1.0,
    healthy: Callable[[Motion], Bool[Array, ""]] = always,
) -> Float[Array, ""]:
    """`weight` times the speed, and `alive` where the body is `healthy`."""
    return weight * speed(before.qpos[0], after.qpos[0], period) + alive * healthy(after)


def upright(after: Motion, heights: Range, pitches: Range) -> Bool[Array, ""]:
    """Whether the torso is within both ranges."""
    _, height, pitch = after.qpos[:3]
    return inside(heights[0], height, heights[1]) & inside(pitches[0], pitch, pitches[1])


def hops(after: Motion, heights: Range, pitches: Range, states: Range) -> Bool[Array, ""]:
    """Whether the torso is within its ranges, and all that follows it in qpos and qvel within `states`."""
    low, high = states
    bounded = inside(low, after.qpos[2:], high) & inside(low, after.qvel, high)
    return bounded & upright(after, heights, pitches)


hopper = MujocoTask(
    name="hopper",
    about="one leg that hops forward",
    xml="hopper.xml",
    frame_skip=4,
    action_limit=1.0,
    position_noise=uniform(5e-3),
    velocity_noise=uniform(5e-3),
    observe=partial(planar_observation, fastest=10.0),
    reward=partial(planar_reward, period=0.008, alive=1.0),
    terminate=unless(partial(hops, heights=(0.7, jnp.inf), pitches=(-0.2, 0.2), states=(-100.0, 100.0))),
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
    observe=partial(planar_observation, fastest=10.0),
    reward=partial(planar_reward, period=0.008, alive=1.0),
    terminate=unless(partial(upright, heights=(0.8, 2.0), pitches=(-1.0, 1.0))),
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
    observe=planar_observation,
    reward=partial(planar_reward, period=0.05, alive=0.0),
    terminate=never,
    effort=0.1,
    mjx_iterations=8,
    mjx_ls_iterations=4,
    published_eps=0.15,
)
