"""A task, an engine, and the environment they make together."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxprune.envs.api import ActionSpace, Environment, EnvState, Transition
from jaxprune.envs.episode import begin, proceed


@struct.dataclass
class Motion:
    """What a task may look at.

    qpos: [nq] generalised positions (m, rad). qvel: [nv] generalised velocities (m/s, rad/s).
    readings: further fields of MuJoCo's `mjData`, by name, in the shapes they have there. After a step they
        describe the last state that the integrator evaluated, one substep behind qpos and qvel: so it is in
        MuJoCo, and so Gymnasium reports them.
    """

    qpos: Float[Array, " nq"]
    qvel: Float[Array, " nv"]
    readings: dict[str, Float[Array, "..."]]


Noise = Callable[[PRNGKeyArray, tuple[int, ...]], Float[Array, "..."]]


@dataclass(frozen=True)
class Task:
    """What is controlled and what for, as pure functions of the motion.

    xml: file name among Gymnasium's MuJoCo assets. frame_skip: physics steps per action.
    action_limit: actions are clipped to [-action_limit, action_limit].
    position_noise, velocity_noise: (key, shape) -> what a reset adds to the body at rest.
    observe: Motion -> [obs]. terminate: Motion -> [].
    reward: (Motion before, Motion after) -> [], what the step earns before its effort is charged.
    effort: a step costs `effort * sum_i action_i^2`; 0 where the task charges nothing.
    readings: the fields of `mjData` that these functions read.
    published_eps: l_inf radius of the published tables, in the normalised space.
    mjx_iterations, mjx_ls_iterations: limits that MJX's constraint solver and its line search get, as low as
        the agreement with MuJoCo's C engine allows (benchmarks/env_agreement.py); None for the file's. The
        solver stops by itself, but in a batch its every iteration pays for the whole line search.
    """

    xml: str
    frame_skip: int
    action_limit: float
    position_noise: Noise
    velocity_noise: Noise
    observe: Callable[[Motion], Float[Array, " obs"]]
    reward: Callable[[Motion, Motion], Float[Array, ""]]
    terminate: Callable[[Motion], Bool[Array, ""]]
    effort: float = 0.0
    readings: tuple[str, ...] = ()
    published_eps: float | None = None
    mjx_iterations: int | None = None
    mjx_ls_iterations: int | None = None


@dataclass(frozen=True)
class Engine:
    """What moves a task's body.

    rest: [nq] positions at rest. speeds, controls: the numbers nv and act of velocities and of actuators.
    start: (qpos, qvel) -> Motion. advance: (Motion, control, going) -> Motion, `frame_skip` physics steps
        later; where `going` is false nobody looks at the result, so nothing need be computed.
    """

    rest: Float[Array, " nq"]
    speeds: int
    controls: int
    start: Callable[[Float[Array, " nq"], Float[Array, " nv"]], Motion]
    advance: Callable[[Motion, Float[Array, " act"], Bool[Array, ""]], Motion]


def embody(name: str, task: Task, physics: str, engine: Engine, horizon: int, charge: str) -> Environment:
    """The environment in which `engine`, called `physics`, moves the body of `task`, called `name`.

    charge: "clipped": the effort is that of the action the body receives, as in the published tables.
        "raw": of the action as given, as Gymnasium has it; inside the range the two agree.
    """

    def reset(key: PRNGKeyArray) -> EnvState:
        position_key, velocity_key = jax.random.split(key)
        qpos = engine.rest + task.position_noise(position_key, engine.rest.shape)
        motion = engine.start(qpos, task.velocity_noise(velocity_key, (engine.speeds,)))
        return begin(motion, task.observe(motion))

    def step(state: EnvState, action: Float[Array, " act"]) -> tuple[EnvState, Transition]:
        control = jnp.clip(action, -task.action_limit, task.action_limit)
        after = engine.advance(state.physics, control, ~state.ended)
        charged = control if charge == "clipped" else action
        return proceed(
            state,
            after,
            observation=task.observe(after),
            reward=task.reward(state.physics, after) - task.effort * jnp.square(charged).sum(),
            terminated=task.terminate(after),
            horizon=horizon,
            watched=(control, after),
        )

    return Environment(
        task=name,
        physics=physics,
        observation_size=jax.eval_shape(reset, jax.random.key(0)).observation.size,
        action_space=ActionSpace(engine.controls, low=-task.action_limit, high=task.action_limit),
        horizon=horizon,
        reset=reset,
        step=step,
        charge=charge,
        published_eps=task.published_eps,
    )
