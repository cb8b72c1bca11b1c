"""Training on an accelerator: time to compile, steps per second and memory, against the number of members.

`python -m benchmarks.accelerator --members 16,64,256,1024` adds rows to benchmarks/results/accelerator.csv,
size by size, so that what is stopped leaves what was measured. The limit is MJX by itself: the same body,
solver and batch, nothing but `mjx.step` in a scan. `--physics mjx-warp` measures MJX's other implementation.
`python -m benchmarks.accelerator --members ""` only writes benchmarks/results/accelerator.md from the rows
there are.
"""

import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import polars as pl
import tyro
from jaxtyping import Array

from benchmarks.machine import machine_line
from experiments.command import in_one_line
from jaxprune import SweepSpec
from jaxprune.envs.catalogue import MUJOCO
from jaxprune.envs.mujoco.engine import ENGINES, Engine
from jaxprune.envs.mujoco.task import Motion
from jaxprune.job import job
from jaxprune.sweep import segment, start

RESULTS = Path(__file__).parent / "results"
TABLE, REPORT = RESULTS / "accelerator.csv", RESULTS / "accelerator.md"
SPARSITIES = (0.0, 0.3, 0.6, 0.9)
ROUNDS = 5


def main(
    task: str = "hopper", members: str = "16,64,256,1024", arms: str = "ppo", physics: str = "mjx"
) -> None:
    """Measure, keep and report.

    Args:
        task: one that MJX moves.
        members: numbers of members, a comma list, each a multiple of 4.
        arms: training arms that share the members, a comma list.
        physics: mjx or mjx-warp.
    """
    for count in [int(text) for text in members.split(",") if text]:
        _keep(measure(task, count, arms, physics))
    REPORT.write_text(report())


def measure(task: str, members: int, arms: str, physics: str) -> dict[str, Any]:
    """A row: this many members on the first device JAX finds."""
    seeds = members // (len(SPARSITIES) * len(arms.split(",")))
    spec = SweepSpec(env=task, physics=physics, seeds=seeds, sparsities=SPARSITIES, arms=arms)
    asked, device = job(spec), jax.devices()[0]
    steps = asked.steps_per_iteration
    began = time.perf_counter()
    training = jax.block_until_ready(start(asked))
    started = time.perf_counter()
    compiled = jax.jit(partial(segment, asked, 1)).lower(training).compile()
    ready = time.perf_counter()
    training = jax.block_until_ready(compiled(training))
    speeds = _speeds(lambda: compiled(training), steps)
    state = training.learners[0].workers.state.physics
    qpos, qvel = (leaf.reshape(-1, leaf.shape[-1]) for leaf in (state.qpos, state.qvel))
    began_raw = time.perf_counter()
    engine = import_module(ENGINES[physics]).engine(MUJOCO[task])
    alone = jax.jit(partial(physics_alone, engine, spec.unroll)).lower(qpos, qvel).compile()
    compiled_raw = time.perf_counter() - began_raw
    jax.block_until_ready(alone(qpos, qvel))
    raw = _speeds(lambda: alone(qpos, qvel), len(qpos) * spec.unroll)
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "physics": physics,
        "task": task,
        "arms": arms,
        "members": asked.trained.size,
        "environments": spec.environments,
        "device": device.device_kind,
        "start_s": started - began,
        "compile_s": ready - started,
        "compile_raw_s": compiled_raw,
        "steps_per_s": median(speeds),
        "steps_per_s_least": min(speeds),
        "steps_per_s_most": max(speeds),
        "raw_steps_per_s": median(raw),
        "raw_steps_per_s_least": min(raw),
        "raw_steps_per_s_most": max(raw),
        "peak_mib": None if peak is None else peak / 2**20,
        "machine": machine_line("python -m benchmarks.accelerator"),
    }


def physics_alone(engine: Engine, length: int, qpos: Array, qvel: Array) -> Array:
    """`length` control steps of MJX, each from the states of [simulation, ...] in another order.

    Random actions. Another order, lest the compiler take out of the loop what the steps have in common.
    """

    def step(qpos: Array, qvel: Array, control: Array) -> Array:
        return engine.advance(Motion(qpos, qvel, readings={}), control, jnp.asarray(True)).qvel

    def all_of(speeds: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        turn, control = now
        return speeds + jax.vmap(step)(jnp.roll(qpos, turn, 0), jnp.roll(qvel, turn, 0), control), None

    controls = jax.random.uniform(jax.random.key(0), (length, len(qpos), engine.controls), minval=-1.0)
    return jax.lax.scan(all_of, jnp.zeros_like(qvel), (jnp.arange(length), controls))[0]


def _speeds(run: Callable[[], Any], steps: int) -> list[float]:
    speeds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        jax.block_until_ready(run())
        speeds.append(steps / (time.perf_counter() - began))
    return speeds


def _keep(row: dict[str, Any]) -> None:
    schema = {"peak_mib": pl.Float64}
    before = [pl.read_csv(TABLE, schema_overrides=schema)] if TABLE.is_file() else []
    pl.concat([*before, pl.DataFrame(row, schema_overrides=schema)]).write_csv(TABLE)
    print(row, flush=True)


def report() -> str:
    """The rows as Markdown."""
    table = pl.read_csv(TABLE)
    lines = "\n".join(_line(row) for row in table.iter_rows(named=True))
    machines = "\n".join(table["machine"].unique(maintain_order=True))
    return f"""# Training on an accelerator

{machines}

MJX physics, 2x64 networks, one iteration of 128 steps in every environment and 10 x 8 minibatches, \
after the first; gradual pruning at sparsities {", ".join(f"{s:g}" for s in SPARSITIES)}; float32, products \
at the highest precision. {ROUNDS} rounds, median (least .. most). MJX alone is `mjx.step` and nothing else: \
same body, solver, batch and states, but random actions, which can cost its solver more than those of a \
policy, so a share above 100 % is possible. Goal: 80 %. Memory is the most that was held on the device since \
the process began.

| device | physics | task | arms | members | simulations | start, s | compile, s | thousand steps/s \
| MJX alone | share | memory, MiB |
|---|---|---|---|---|---|---|---|---|---|---|---|
{lines}
"""


def _line(row: dict[str, Any]) -> str:
    def spread(name: str) -> str:
        middle, least, most = (row[f"{name}{end}"] / 1e3 for end in ("", "_least", "_most"))
        return f"{middle:.0f} ({least:.0f} .. {most:.0f})"

    cells = (
        row["device"],
        row["physics"],
        row["task"],
        row["arms"],
        row["members"],
        row["members"] * row["environments"],
        f"{row['start_s']:.0f}",
        f"{row['compile_s']:.0f}",
        spread("steps_per_s"),
        spread("raw_steps_per_s"),
        f"{row['steps_per_s'] / row['raw_steps_per_s']:.0%}",
        "not measured" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    with in_one_line():
        tyro.cli(main)
