"""How close a sweep's training comes to its physics alone, where the rest goes, and what one program saves.

`python -m benchmarks.sweep_throughput` writes benchmarks/results/sweep_throughput.md. Every round measures
all parts one after the other, so that noise of the machine meets them alike. `mujoco.rollout` alone gets the
very states and actions that the sweep's own rollout meets, one call per control step, as a policy needs it.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import rollout as mujoco_rollout

from benchmarks.machine import machine_line
from jaxprune import SweepSpec
from jaxprune.envs import Environment, step_or_reset
from jaxprune.envs.catalogue import MUJOCO
from jaxprune.envs.mujoco import model
from jaxprune.job import job
from jaxprune.progress import Meter
from jaxprune.sweep import segment, start, train
from jaxprune.training.rollout import rollout

RESULT = Path(__file__).parent / "results" / "sweep_throughput.md"
ROUNDS = 7
WARM_UP_ITERATIONS = 40
"""Iterations before the clock starts, so that the states met are no longer those of the reset."""

COMPARED_ITERATIONS = 20
"""Iterations of the comparison with single runs."""

THREADS = len(os.sched_getaffinity(0))

RAW = "mujoco.rollout alone"
PHYSICS = "physics through the callback, in a jitted scan"
ACTING = "rollout: policy, physics, resets, bookkeeping"
TRAINING = "sweep training: rollout, PPO update, masks"


def main() -> None:
    """Measure and write the table."""
    spec = SweepSpec()
    together, alone = one_program_against_ten(replace(spec, steps=COMPARED_ITERATIONS * 2048))
    compiles = [compile_seconds() for _ in range(2)]  # the second finds the first one's cache
    speeds = measure(spec)
    RESULT.write_text(report(spec, speeds, compiles, together, alone))
    print(RESULT.read_text())


def measure(spec: SweepSpec) -> dict[str, list[float]]:
    """Environment steps per second of each part, round by round."""
    asked = job(spec)
    env, training = asked.env, jax.jit(partial(segment, asked, WARM_UP_ITERATIONS))(start(asked))
    (learners,) = training.learners
    policies = learners.agent.pruned()
    states, actions = jax.jit(jax.vmap(partial(record, env, spec.unroll)))(
        policies, learners.workers.state, learners.key
    )
    act = jax.vmap(lambda *a: rollout(env, *a, spec.unroll)[1].reward)
    parts: dict[str, Callable[[], Any]] = {
        RAW: partial(raw_rollout, env, states, np.asarray(actions)),
        PHYSICS: partial(jax.jit(partial(physics_only, env)), states, actions),
        ACTING: partial(jax.jit(act), policies, learners.workers, learners.key),
        TRAINING: partial(jax.jit(partial(segment, asked, 1)), training),
    }
    for run in parts.values():
        jax.block_until_ready(run())
    steps = spec.unroll * spec.environments * len(spec.sparsities)
    speeds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):
        for name, run in parts.items():
            speeds[name].append(steps / seconds(run))
    return speeds


def record(env: Environment, length: int, agent: Any, state: Any, key: Any) -> tuple[Any, Any]:
    """The states and actions of a rollout, [time, environment, ...]."""

    def one(state: Any, key: Any) -> tuple[Any, Any]:
        action_key, reset_key = jax.random.split(key)
        action = agent.distribution(agent.normalise(state.observation)).sample(action_key)
        return step_or_reset(env, state, action, reset_key)[0], (state, action)

    count = state.time.shape[0]
    return jax.lax.scan(jax.vmap(one), state, jax.random.split(key, (length, count)))[1]


def physics_only(env: Environment, states: Any, actions: Any) -> Any:
    """Every recorded step once more, nothing else. Axes [member, time, environment]."""
    in_time = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (states, actions))
    step = jax.vmap(jax.vmap(lambda state, action: env.step(state, action)[1].reward))
    return jax.lax.scan(lambda none, now: (none, step(*now)), None, in_time)[1]


def raw_rollout(env: Environment, states: Any, actions: np.ndarray) -> np.ndarray:
    """The recorded steps by MuJoCo's own rollout: same XML, same batch, all cores, no JAX."""
    task = MUJOCO[env.task]
    body = model.load(task.xml)
    qpos, qvel, control = (
        np.swapaxes(np.asarray(leaf, np.float64), 0, 1).reshape(leaf.shape[1], -1, leaf.shape[-1])
        for leaf in (states.physics.qpos, states.physics.qvel, actions)
    )
    begin = np.concatenate([np.zeros((*qpos.shape[:2], 1)), qpos, qvel], axis=-1)
    held = np.repeat(np.clip(control, -1, 1)[:, :, None], task.frame_skip, axis=2)
    data = [mujoco.MjData(body) for _ in range(THREADS)]
    with mujoco_rollout.Rollout(nthread=THREADS) as pool:
        for state, controls in zip(begin, held, strict=True):
            after = pool.rollout(body, data, state, controls)[0]
    return after


def compile_seconds() -> float:
    """Seconds to trace and compile the training program in a fresh process (see `_compile_here`)."""
    command = [sys.executable, "-m", "benchmarks.sweep_throughput", "compile"]
    environment = os.environ | {"JAXPRUNE_CACHE": str(CACHE)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout.split()[-1])


def _compile_here() -> None:
    from jaxprune import device

    device.keep_compiled()
    spec = SweepSpec()
    asked = job(spec)
    training = start(asked)
    run = jax.jit(partial(segment, asked, 4), donate_argnums=0)
    print(seconds(lambda: run.lower(training).compile() and None))


def one_program_against_ten(spec: SweepSpec) -> tuple[float, float]:
    """Seconds of training ten members in one program, and one after the other; compilation included."""

    def fresh(spec: SweepSpec) -> Any:
        jax.clear_caches()
        with Meter() as meter:
            return train(job(spec), None, meter).iteration

    together = seconds(partial(fresh, spec))
    alone = sum(seconds(partial(fresh, replace(spec, sparsities=(s,)))) for s in spec.sparsities)
    return together, alone


def seconds(run: Callable[[], Any]) -> float:
    """How long it takes until all is computed."""
    began = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - began


def report(
    spec: SweepSpec, speeds: dict[str, list[float]], compiles: list[float], together: float, alone: float
) -> str:
    """The result as Markdown."""
    rows = []
    for name, values in speeds.items():
        shares = [value / raw for value, raw in zip(values, speeds[RAW], strict=True)]
        spread = f"{min(values) / 1e3:.1f} .. {max(values) / 1e3:.1f}"
        rows.append(
            f"| {name} | {median(values) / 1e3:.1f} | {spread} | {median(shares):.0%} "
            f"({min(shares):.0%} .. {max(shares):.0%}) |"
        )
    times = {name: 1e6 / median(values) for name, values in speeds.items()}
    return f"""# Throughput of a sweep's training

{machine_line("python -m benchmarks.sweep_throughput")}

{spec.env}, native physics, {len(spec.sparsities)} members x {spec.environments} environments (batch \
{len(spec.sparsities) * spec.environments}), {spec.unroll} steps per iteration, {spec.epochs} epochs x \
{spec.minibatches} minibatches, {THREADS} threads, after {WARM_UP_ITERATIONS} iterations of training. \
{ROUNDS} rounds; shares are of `mujoco.rollout` in the same round, on the same states and actions.

| part | thousand env steps/s, median | spread | share of the limit |
|---|---|---|---|
{chr(10).join(rows)}

Per environment step (medians): physics {times[RAW]:.1f} us, callback and task \
{times[PHYSICS] - times[RAW]:.1f} us, policy, resets, bookkeeping \
{times[ACTING] - times[PHYSICS]:.1f} us, update and masks {times[TRAINING] - times[ACTING]:.1f} us.

Compiling the training program in a fresh process: {compiles[0]:.1f} s with an empty cache, \
{compiles[1]:.1f} s with the cache of the run before (JAX does not cache programs that call back into Python).

Training {COMPARED_ITERATIONS} iterations of ten members in one program took {together:.1f} s, ten single \
runs one after the other {alone:.1f} s (compilation included in both): {alone / together:.2f} times as long.
"""


if __name__ == "__main__":
    if sys.argv[1:] == ["compile"]:
        _compile_here()
    else:
        with TemporaryDirectory() as cache:
            CACHE = Path(cache)
            main()
