"""Gymnasium's classes whose tasks are known here, and the record that each of their environments comes to.

Versions 4 and 5: https://gymnasium.farama.org/environments/mujoco/. Version 4 pays a body for being healthy
at the step in which it falls too, version 5 does not.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco import ant, humanoid, pendulums, runners
from jaxprune.envs.mujoco.task import Motion, MujocoTask, always, never, normal, uniform, unless

Healthy = Callable[[Motion], Bool[Array, ""]]


def task_of(env: Any) -> tuple[MujocoTask, type] | None:
    """The record of an environment of Gymnasium's, and the class that it goes by; None for any other.

    The record has the task's functions and numbers; its name and file are still those of ours.
    """
    for kind in type(env).__mro__:
        if f"{kind.__module__}:{kind.__name__}" in CLASSES:
            return CLASSES[f"{kind.__module__}:{kind.__name__}"](env), kind
    return None


def _runner(ours: MujocoTask, fastest: float, normal_speeds: bool, skippable: int, env: Any) -> MujocoTask:
    """What swims or runs and cannot fall."""
    return replace(
        ours,
        **_starts(env._reset_noise_scale, normal_speeds),
        observe=partial(runners.planar_observation, skipped=_skipped(env, skippable), fastest=fastest),
        reward=partial(
            runners.planar_reward, period=env.dt, alive=0.0, weight=float(env._forward_reward_weight)
        ),
        effort=float(env._ctrl_cost_weight),
    )


def _faller(ours: MujocoTask, with_states: bool, old: bool, env: Any) -> MujocoTask:
    """What runs and can fall."""
    ranges = {"heights": tuple(env._healthy_z_range), "pitches": tuple(env._healthy_angle_range)}
    healthy: Healthy = partial(runners.upright, **ranges)
    if with_states:
        healthy = partial(runners.hops, **ranges, states=tuple(env._healthy_state_range))
    runner = _runner(ours, 10.0, normal_speeds=False, skippable=1, env=env)
    reward = partial(
        runners.planar_reward,
        period=env.dt,
        weight=float(env._forward_reward_weight),
        alive=float(env._healthy_reward),
        healthy=_paid(env, healthy, old),
    )
    return replace(runner, reward=reward, terminate=_end(env, healthy))


def _ant(old: bool, env: Any) -> MujocoTask:
    healthy = partial(ant.stands, low=env._healthy_z_range[0], high=env._healthy_z_range[1])
    low, high = (float(end) for end in env._contact_force_range)
    forces = partial(ant.contact_forces, low=low, high=high)
    # the forces of the world's row are 0; version 5 leaves it out
    shown = env._use_contact_forces if old else env._include_cfrc_ext_in_observation
    first = 0 if old else 1
    charged = float(env._contact_cost_weight) if not old or env._use_contact_forces else 0.0
    torso = env.model.body("torso" if old else env._main_body).id
    forward = partial(
        ant.ant_reward,
        period=env.dt,
        weight=1.0 if old else float(env._forward_reward_weight),
        alive=float(env._healthy_reward),
        torso=torso,
        healthy=_paid(env, healthy, old),
    )

    def observe(motion: Motion) -> Float[Array, " obs"]:
        seen = ant.ant_observation(motion, skipped=_skipped(env, 2))
        return jnp.concatenate([seen, forces(motion)[first:].ravel()]) if shown else seen

    def reward(before: Motion, after: Motion, action: Float[Array, " act"]) -> Float[Array, ""]:
        moved = forward(before, after, action)
        return moved - charged * jnp.square(forces(after)).sum() if charged else moved

    return replace(
        ant.ant,
        **_starts(env._reset_noise_scale, normal_speeds=True),
        observe=observe,
        reward=reward,
        terminate=_end(env, healthy),
        effort=float(env._ctrl_cost_weight),
        readings=("xpos", "cfrc_ext") if shown or charged else ("xpos",),
    )


def _humanoid(old: bool, env: Any) -> MujocoTask:
    healthy = partial(humanoid.at_height, low=env._healthy_z_range[0], high=env._healthy_z_range[1])
    # version 5 leaves out the world's rows, and the six coordinates that no actuator moves
    parts: dict[str, int] = dict.fromkeys(humanoid.PARTS, 0)
    if not old:
        first = {"qfrc_actuator": 6}
        shown = [name for name in humanoid.PARTS if getattr(env, f"_include_{name}_in_observation") is True]
        parts = {name: first.get(name, 1) for name in shown}
    charged = 0.0 if old else float(env._contact_cost_weight)
    forward = partial(
        humanoid.humanoid_reward,
        period=env.dt,
        weight=float(env._forward_reward_weight),
        alive=float(env._healthy_reward),
        healthy=_paid(env, healthy, old),
    )

    def reward(before: Motion, after: Motion, action: Float[Array, " act"]) -> Float[Array, ""]:
        moved = forward(before, after, action)
        if not charged:
            return moved
        cost = charged * jnp.square(after.readings["cfrc_ext"]).sum()
        return moved - jnp.clip(cost, *env._contact_cost_range)

    return replace(
        humanoid.humanoid,
        **_starts(env._reset_noise_scale, normal_speeds=False),
        observe=partial(humanoid.humanoid_observation, skipped=_skipped(env, 2), parts=parts),
        reward=reward,
        terminate=_end(env, healthy),
        effort=float(env._ctrl_cost_weight),
        readings=tuple(dict.fromkeys((*parts, "subtree_com", *(("cfrc_ext",) if charged else ())))),
    )


def _pendulum(old: bool, env: Any) -> MujocoTask:
    return replace(
        pendulums.inverted_pendulum,
        **_starts(0.01 if old else env._reset_noise_scale, normal_speeds=False),
        reward=partial(pendulums.pendulum_reward, healthy=always if old else pendulums.balanced),
    )


def _double_pendulum(old: bool, env: Any) -> MujocoTask:
    alive, healthy = (10.0, always) if old else (float(env._healthy_reward), pendulums.tip_is_up)
    return replace(
        pendulums.inverted_double_pendulum,
        **_starts(0.1 if old else env._reset_noise_scale, normal_speeds=True),
        observe=partial(pendulums.double_pendulum_observation, forces=None if old else 1),
        reward=partial(pendulums.double_pendulum_reward, alive=alive, healthy=healthy),
    )


def _starts(scale: float, normal_speeds: bool) -> dict[str, Any]:
    """The noise of a reset."""
    return {
        "position_noise": uniform(float(scale)),
        "velocity_noise": (normal if normal_speeds else uniform)(float(scale)),
    }


def _skipped(env: Any, most: int) -> int:
    """How many positions are not observed."""
    return most if env._exclude_current_positions_from_observation else 0


def _paid(env: Any, healthy: Healthy, old: bool) -> Healthy:
    """Where a body is paid for being healthy."""
    return always if old and env._terminate_when_unhealthy else healthy


def _end(env: Any, healthy: Healthy) -> Healthy:
    return unless(healthy) if env._terminate_when_unhealthy else never


swimmer = replace(runners.halfcheetah, name="swimmer", xml="swimmer.xml")
"""Its reward is the halfcheetah's."""

_OF_BOTH: dict[str, Callable[[bool], Callable[[Any], MujocoTask]]] = {
    "hopper:HopperEnv": lambda old: partial(_faller, runners.hopper, True, old),
    "walker2d:Walker2dEnv": lambda old: partial(_faller, runners.walker2d, False, old),
    "half_cheetah:HalfCheetahEnv": lambda old: partial(_runner, runners.halfcheetah, jnp.inf, True, 1),
    "swimmer:SwimmerEnv": lambda old: partial(_runner, swimmer, jnp.inf, False, 2),
    "ant:AntEnv": lambda old: partial(_ant, old),
    "humanoid:HumanoidEnv": lambda old: partial(_humanoid, old),
    "inverted_pendulum:InvertedPendulumEnv": lambda old: partial(_pendulum, old),
    "inverted_double_pendulum:InvertedDoublePendulumEnv": lambda old: partial(_double_pendulum, old),
}

CLASSES = {
    f"gymnasium.envs.mujoco.{module}_{version}:{kind}": read(version == "v4")
    for name, read in _OF_BOTH.items()
    for module, kind in [name.split(":")]
    for version in ("v4", "v5")
}
"""Entry points of the known classes, and what makes a record of their environments."""
