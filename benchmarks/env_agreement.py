"""Single steps of our environments against Gymnasium's, and of MJX against MuJoCo's C engine.

From the same float32 state and action, one step of `native` is compared with Gymnasium's `-v4` environment,
and one step of `mjx` with `native`. The states are met by random actions in Gymnasium. Differences are
|ours - theirs| / (1 + |theirs|): absolute for small numbers, relative for large ones (contact forces).

    python -m benchmarks.env_agreement [PART ...]

A part is a section of the table: native, mjx, limits-hopper, ...; without any, all are measured.
"""

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from time import process_time

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from benchmarks.machine import machine_line
from jaxprune.envs import Environment, Transition
from jaxprune.envs.catalogue import MUJOCO, named
from jaxprune.envs.episode import begin
from jaxprune.envs.mujoco import mjx, model
from jaxprune.envs.mujoco.engine import ENGINES, Engine, embody
from jaxprune.envs.mujoco.task import CONTACT_FORCES, HORIZON, MujocoTask

GYMNASIUM = {
    "hopper": "Hopper-v4",
    "walker2d": "Walker2d-v4",
    "halfcheetah": "HalfCheetah-v4",
    "ant": "Ant-v4",
    "ant-contact": "Ant-v4",
    "humanoid": "Humanoid-v4",
    "inverted_pendulum": "InvertedPendulum-v4",
    "inverted_double_pendulum": "InvertedDoublePendulum-v4",
}
OPTIONS = {"ant-contact": {"use_contact_forces": True}}

# `native` computes in float64, as Gymnasium does, so what remains is the rounding to float32. The reward of
# the halfcheetah is a difference of two positions that may be far from 0, over 0.05 s. The PGS solver of the
# humanoid stops before it converges, and Gymnasium starts it warm where we start it cold.
NATIVE_TOLERANCE = dict.fromkeys(GYMNASIUM, 1e-5) | {"halfcheetah": 1e-4, "humanoid": 1e-3}

# MJX computes in float32. The ant goes beyond this in some steps: where a capsule meets the floor at more
# than 60 degrees, MJX lays the two tangents of the contact along the world's axes, MuJoCo along the capsule,
# and the ant's friction cone is a pyramid over them. With a round cone, which has no such directions, the two
# agree but for a rare step that float32 solves less well.
MJX_TOLERANCE = 1e-2

LIMITS, LS_LIMITS = (100, 1, 2, 3, 4, 6, 8, 16), (50, 4)
"""Limits to try: of the solver's iterations and of the line search's. 100 and 50 are MuJoCo's own."""

ABOUT = __doc__.split("\n\n")[1].replace("\n", " ")
HEAD = (
    "| task | ours / theirs | steps | observation, largest | reward, largest | unequal ends "
    "| tolerance | within it |",
    "|---|---|---|---|---|---|---|---|",
)

TABLE = Path(__file__).parent / "results" / "env_agreement.md"


@dataclass(frozen=True)
class Steps:
    """Single steps, one per row: from (qpos, qvel) by action to observation, reward and end of task."""

    qpos: np.ndarray
    qvel: np.ndarray
    action: np.ndarray
    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray

    def every(self, stride: int) -> "Steps":
        """One step out of `stride`."""
        return Steps(**{field.name: getattr(self, field.name)[::stride] for field in fields(self)})


@dataclass(frozen=True)
class Differences:
    """Per step: the largest difference among the observation's numbers, the reward's, and unequal ends."""

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray

    def share_within(self, tolerance: float) -> float:
        """Share of the steps that end alike, with all differences up to `tolerance`."""
        close = (self.observation <= tolerance) & (self.reward <= tolerance) & ~self.terminated
        return float(close.mean())


@contextmanager
def gymnasium_env(task: str) -> Iterator[gymnasium.Env]:
    """Gymnasium's environment; its notices (v4 is old) are dropped, its log with a temporary folder."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = gymnasium.make(GYMNASIUM[task], **OPTIONS.get(task, {})).unwrapped
        yield env
        env.close()


def gymnasium_steps(task: str, count: int, seed: int = 0, reach: float = 1.0) -> Steps:
    """`count` of Gymnasium's steps, each from a state met by random actions and rounded to float32.

    The actions are uniform in `reach` times the range that they are clipped to.
    """
    rng = np.random.default_rng(seed)
    rows = []
    with gymnasium_env(task) as env:
        env.reset(seed=seed)
        low, high = reach * env.action_space.low, reach * env.action_space.high
        for index in range(count):
            # the step to compare starts where the last one ended, so it is a step of the walk as well
            qpos, qvel = (array.astype(np.float32) for array in (env.data.qpos, env.data.qvel))
            action = rng.uniform(low, high).astype(np.float32)
            env.set_state(qpos.astype(np.float64), qvel.astype(np.float64))
            observation, reward, terminated, _, _ = env.step(action)
            rows.append((qpos, qvel, action, observation, reward, terminated))
            if terminated or (index + 1) % HORIZON == 0:
                env.reset()
    return Steps(*(np.array(column) for column in zip(*rows, strict=True)))


@contextmanager
def round_friction() -> Iterator[None]:
    """Bodies whose friction does not depend on the directions of a contact's tangents."""
    load = model.load

    def rounded(xml: str) -> mujoco.MjModel:
        body = load(xml)
        body.opt.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        return body

    model.load = rounded
    try:
        yield
    finally:
        model.load = load


def stepper(env: Environment, task: MujocoTask, engine: Engine) -> Callable[..., Transition]:
    """[step] qpos, qvel, action -> what one step of `env` yields from there."""

    def step(qpos: jax.Array, qvel: jax.Array, action: jax.Array) -> Transition:
        motion = engine.start(qpos, qvel, None)
        _, transition = env.step(begin(motion, task.observe(motion)), action)
        return transition

    return jax.jit(jax.vmap(step))


def one_step(task: str, physics: str, steps: Steps, charge: str = "clipped") -> Transition:
    """The same steps in our environment, built anew: `make` would give the one it has made before."""
    engine = import_module(ENGINES[physics]).engine(MUJOCO[task])
    step = stepper(named(task).build(physics, HORIZON, charge), MUJOCO[task], engine)
    return jax.device_get(step(steps.qpos, steps.qvel, steps.action))


class TracedLimit:
    """Stands where MJX keeps its number of iterations, so that one compiled program serves them all."""

    value: jax.Array

    def __eq__(self, other: object) -> bool:
        return self is other  # MJX asks whether it is 1, to leave its loop out

    def __hash__(self) -> int:
        return id(self)

    def __le__(self, count: jax.Array) -> jax.Array:
        return count >= self.value


@dataclass(frozen=True)
class Tried:
    """MJX under limits of its solver and line search: agreement with `native`, cost in processor seconds."""

    iterations: int
    ls_iterations: int
    found: Differences
    steps_per_second: float
    compile_seconds: float


def try_limits(
    task: str, ls_iterations: int, limits: Sequence[int], steps: Steps, theirs: Transition
) -> Iterator[Tried]:
    """The same steps under one limit of the line search and several of the solver, compiled once."""
    put_model, limit = mjx.mjx.put_model, TracedLimit()

    def put_limited(body: mujoco.MjModel) -> mjx.mjx.Model:
        put = put_model(body)
        return put.replace(opt=put.opt.replace(iterations=limit))

    limited = replace(MUJOCO[task], mjx_ls_iterations=ls_iterations)
    mjx.mjx.put_model = put_limited
    try:
        engine = mjx.engine(limited)
    finally:
        mjx.mjx.put_model = put_model
    plain = stepper(embody(limited, engine, "mjx", HORIZON, "clipped"), limited, engine)

    def step(iterations: jax.Array, *arguments: jax.Array) -> Transition:
        limit.value = iterations
        return plain(*arguments)

    arguments = (steps.qpos, steps.qvel, steps.action)
    start = process_time()
    compiled = jax.jit(step).lower(jnp.int32(0), *arguments).compile()
    compile_seconds = process_time() - start
    for iterations in limits:
        seconds = []
        for _ in range(3):
            start = process_time()
            ours = jax.device_get(compiled(jnp.int32(iterations), *arguments))
            seconds.append(process_time() - start)
        rate = len(steps.reward) / min(seconds)
        yield Tried(iterations, ls_iterations, differences(ours, theirs), rate, compile_seconds)


def differences(ours: Transition, theirs: Steps | Transition) -> Differences:
    """How far apart the same steps of two environments end."""

    def gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.abs(a - b) / (1 + np.abs(b))

    return Differences(
        gap(ours.observation, theirs.observation).max(axis=1),
        gap(ours.reward, theirs.reward),
        ours.terminated != theirs.terminated,
    )


def row(task: str, physics: str, against: str, found: Differences, tolerance: float) -> str:
    """One line of the table."""
    cells = (
        task,
        f"`{physics}` / {against}",
        f"{len(found.reward)}",
        f"{found.observation.max():.1e}",
        f"{found.reward.max():.1e}",
        f"{found.terminated.sum()}",
        f"{tolerance:.0e}",
        f"{100 * found.share_within(tolerance):.2f} %",
    )
    return f"| {' | '.join(cells)} |"


def native_rows(count: int = 10_000) -> Iterator[str]:
    """`native` against Gymnasium."""
    yield from HEAD
    for task in GYMNASIUM:
        steps = gymnasium_steps(task, count)
        found = differences(one_step(task, "native", steps), steps)
        yield row(task, "native", "Gymnasium", found, NATIVE_TOLERANCE[task])


def mjx_rows(physics: str, count: int = 64) -> Iterator[str]:
    """MJX against `native`, and the ant once more where the two lay out its friction alike."""

    def compare(task: str, named: str) -> str:
        # spread over the walk rather than its beginning
        steps = gymnasium_steps(task, 10 * count).every(10)
        found = differences(one_step(task, physics, steps), one_step(task, "native", steps))
        return row(named, physics, "`native`", found, MJX_TOLERANCE)

    yield from HEAD
    for task in GYMNASIUM:
        if physics != "mjx-warp" or CONTACT_FORCES not in MUJOCO[task].readings:
            yield compare(task, task)
    with round_friction():
        yield compare("ant", "ant, both with round friction cones")


def limit_rows(task: str, count: int = 256) -> Iterator[str]:
    """What each limit of MJX's solver and line search costs and spoils."""
    yield "| solver | line search | observation, largest | reward, largest | within | steps/s | compile, s |"
    yield "|---|---|---|---|---|---|---|"
    steps = gymnasium_steps(task, 10 * count).every(10)
    theirs = one_step(task, "native", steps)
    for ls_iterations in LS_LIMITS:
        for tried in try_limits(task, ls_iterations, LIMITS, steps, theirs):
            yield limit_row(task, tried)


def limit_row(task: str, tried: Tried) -> str:
    """One line of the table of limits, in bold for the task's own."""
    cells = [
        f"{tried.iterations}",
        f"{tried.ls_iterations}",
        f"{tried.found.observation.max():.2e}",
        f"{tried.found.reward.max():.2e}",
        f"{100 * tried.found.share_within(MJX_TOLERANCE):.2f} %",
        f"{tried.steps_per_second:.0f}",
        f"{tried.compile_seconds:.0f}",
    ]
    if (tried.iterations, tried.ls_iterations) == (
        MUJOCO[task].mjx_iterations,
        MUJOCO[task].mjx_ls_iterations,
    ):
        cells = [f"**{cell}**" for cell in cells]
    return f"| {' | '.join(cells)} |"


PARTS = (
    {"native": native_rows}
    | {name: partial(mjx_rows, name) for name in ("mjx", "mjx-warp")}
    | {f"limits-{task}": partial(limit_rows, task) for task in ("hopper", "walker2d", "halfcheetah")}
)
"""Sections of the table by name; each can be measured alone."""

NOTES = {
    f"limits-{task}": "MJX under limits of its solver and line search, 256 states, the first 64 those of the "
    "table above. Seconds are the processor's, all threads together, in the best of three calls. The task's "
    "own limits are in bold."
    for task in ("hopper", "walker2d", "halfcheetah")
}


def main(parts: Sequence[str]) -> None:
    for part in parts or PARTS:
        rows = []
        for line in PARTS[part]():
            rows.append(line)
            print(line, flush=True)
        write(part, rows)


def write(part: str, rows: Sequence[str]) -> None:
    """Put a section, with what it was made on, in the place of the one of that name."""
    _, *old = TABLE.read_text().split("\n## ")
    sections = dict(section.split("\n", 1) for section in old)
    line = machine_line(f"python -m benchmarks.env_agreement {part}")
    note = NOTES.get(part, "")
    paragraphs = [f"{line} Gymnasium {version('gymnasium')}.", *([note] if note else []), "\n".join(rows)]
    sections[part] = "\n" + "\n\n".join(paragraphs) + "\n"
    head = f"# One step of each environment against another engine's\n\n{ABOUT}\n"
    TABLE.write_text(head + "".join(f"\n## {name}\n{sections[name]}" for name in PARTS if name in sections))


if __name__ == "__main__":
    main(sys.argv[1:])
