"""The engines that move MuJoCo's bodies, and the environments they make of a task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxprune.envs.api import ActionSpace, Body, Environment, EnvState, Transition
from jaxprune.envs.episode import begin, proceed
from jaxprune.envs.mujoco.task import Motion, MujocoTask
from jaxprune.envs.shift import Shift
from jaxprune.envs.task import Task
from jaxprune.errors import SpecError

ENGINES = {
    "native": "jaxprune.envs.mujoco.native",
    "mjx": "jaxprune.envs.mujoco.mjx",
    "mjx-warp": "jaxprune.envs.mujoco.mjx_warp",
}
"""The physics by name, and the module whose `engine` makes an `Engine` of a task. It is imported only when it
is asked for: MJX takes seconds."""

FOR_ACCELERATORS = "mjx"


@dataclass(frozen=True)
class Engine:
    """What moves a task's body.

    rest: [nq] positions at rest. speeds, controls: the numbers nv and act of velocities and of actuators.
    start: (qpos, qvel, shift) -> Motion, of the task's own body where `shift` is None.
    advance: (Motion, control, going) -> Motion, `frame_skip` physics steps later, under the Motion's shift;
        where `going` is false nobody looks at the result, so nothing need be computed.
    """

    rest: Float[Array, " nq"]
    speeds: int
    controls: int
    start: Callable[[Float[Array, " nq"], Float[Array, " nv"], Shift | None], Motion]
    advance: Callable[[Motion, Float[Array, " act"], Bool[Array, ""]], Motion]


def in_mujoco(task: MujocoTask, tested: bool = False) -> Task:
    """The task as it is listed: moved by every engine, the first on a CPU.

    tested: whether all is right with it, as the library's own tests say of its own tasks. Any other is tried
        at a reset before an engine is made of it, see `sound`: about a second of compilation.
    """
    return Task(
        name=task.name,
        about=task.about,
        build=partial(_build, task, tested),
        horizon=task.horizon,
        physics=tuple(ENGINES),
        on_accelerator=FOR_ACCELERATORS,
        charges_raw=task.effort > 0,
        published_eps=task.published_eps,
    )


def _build(task: MujocoTask, tested: bool, physics: str, horizon: int, charge: str) -> Environment:
    if not tested:
        from jaxprune.envs.mujoco.sound import sound  # here, because MuJoCo takes long to import

        task = sound(task)
    try:
        engine = import_module(ENGINES[physics]).engine(task)
    except NotImplementedError as error:
        raise SpecError(f"physics of {task.name}: {physics} cannot move {task.xml} ({error})") from None
    return embody(task, engine, physics, horizon, charge)


def embody(task: MujocoTask, engine: Engine, physics: str, horizon: int, charge: str) -> Environment:
    """The environment in which `engine`, called `physics`, moves the body of `task`.

    charge: "clipped": the effort is that of the action the body receives, as in the published tables.
        "raw": of the action as given, as Gymnasium has it; inside the range the two agree.
    """
    if task.action_limit is None:
        raise SpecError(f"action_limit of {task.name}: it is not known; `in_mujoco` takes it from the file")
    limit = task.action_limit

    def start(key: PRNGKeyArray, shift: Shift | None) -> EnvState:
        position_key, velocity_key = jax.random.split(key)
        qpos = engine.rest + task.position_noise(position_key, engine.rest.shape)
        motion = engine.start(qpos, task.velocity_noise(velocity_key, (engine.speeds,)), shift)
        return begin(motion, task.observe(motion))

    def reset(key: PRNGKeyArray) -> EnvState:
        return start(key, None)

    def step(state: EnvState, action: Float[Array, " act"]) -> tuple[EnvState, Transition]:
        control = jnp.clip(action, -limit, limit)
        after = engine.advance(state.physics, control, ~state.ended)
        charged = control if charge == "clipped" else action
        return proceed(
            state,
            after,
            observation=task.observe(after),
            reward=task.reward(state.physics, after, charged) - task.effort * jnp.square(charged).sum(),
            terminated=task.terminate(after),
            horizon=horizon,
            watched=(control, after),
        )

    return Environment(
        task=task.name,
        physics=physics,
        observation_size=jax.eval_shape(reset, jax.random.key(0)).observation.size,
        action_space=ActionSpace(engine.controls, low=-limit, high=limit),
        horizon=horizon,
        reset=reset,
        step=step,
        charge=charge,
        start_shifted=start,
        body=Body(task.xml, task.frame_skip),
    )
