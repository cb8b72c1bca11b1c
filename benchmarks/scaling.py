"""Time and memory of the parts of a sweep against members, environments and width, and the model of both.

`python -m benchmarks.scaling` measures what is not in benchmarks/results/scaling.csv yet (delete that to
measure all anew), fits the coefficients, and writes benchmarks/results/scaling.md and
jaxprune/coefficients.py, by which `experiments.sweep` says how long it will take. Fitted are processor
seconds, which other programs on the machine change little, over those of a known piece of network in the same
minute (`speeds.slowness`).
"""

import ctypes
import gc
import time
from collections.abc import Callable
from functools import partial
from importlib import reload
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from benchmarks.machine import machine_line
from benchmarks.scaling_fit import coefficients
from benchmarks.scaling_report import RESULTS, report
from benchmarks.scaling_rows import EPISODES, ROWS, SHORT, Row, asked_of
from jaxprune import (
    Population,
    SweepSpec,
    attacks,
    certification,
    evaluation,
    population,
    speeds,
)
from jaxprune import coefficients as fitted
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.certification.return_spec import ReturnSpec
from jaxprune.certification.spent import spent
from jaxprune.evaluation import Condition, Visits
from jaxprune.job import Job, job
from jaxprune.policy import agent
from jaxprune.sweep import segment, start

TABLE, REPORT = RESULTS / "scaling.csv", RESULTS / "scaling.md"
COEFFICIENTS = Path(fitted.__file__)
NUMBERS = ("temporary_mib", "carried_mib", "peak_mib", "compile_s", "compile_processor_s")
"""Columns that are empty in some rows."""

PROCESSOR_SECONDS, MOST_TIMES = 0.5, 20
"""A part is measured until it has taken so long, and so often at most; twice at least."""


def main() -> None:
    """Measure what is missing, fit, and write."""
    done = (
        set() if not TABLE.is_file() else {asked_of(row) for row in pl.read_csv(TABLE).iter_rows(named=True)}
    )
    for row in ROWS:
        if row not in done:
            _keep({**row._asdict(), **_measured(row)})
            _drop_programs()
    table = pl.read_csv(TABLE)
    COEFFICIENTS.write_text(coefficients(table))
    reload(fitted)
    REPORT.write_text(report(table))
    print(REPORT.read_text())


def _measured(row: Row) -> dict[str, Any]:
    measure = {
        "training": _training,
        "evaluation": _evaluation,
        "certificates": _certificates,
        "returned": _returned,
    }[row.part]
    # The machine's speed before and after, of which the higher: a moment of other work is no speed.
    before = _speeds(row)
    found = measure(row)
    physics, network = map(min, zip(before, _speeds(row), strict=True))
    return {
        "steps": 0,
        "temporary_mib": None,
        "carried_mib": None,
        "peak_mib": None,
        **found,
        "physics_us": 1e6 * physics,
        "network_s": network,
        "machine": machine_line("python -m benchmarks.scaling"),
    }


def _speeds(row: Row) -> tuple[float, float]:
    """Processor seconds of a step of its physics, and of a piece of network."""
    side_by_side = row.members * (EPISODES if row.part == "evaluation" else row.environments)
    physics = speeds.physics_seconds(row.env, side_by_side) if row.part != "certificates" else 0.0
    return physics, speeds.network_seconds()


def _training(row: Row) -> dict[str, Any]:
    """An iteration, compiled as a sweep does, and what it holds."""
    asked = _job(row)
    like = jax.eval_shape(lambda: start(asked))
    run = jax.jit(partial(segment, asked, 1), donate_argnums=0)
    compiled, making = _timed(lambda: run.lower(like).compile())
    sizes = compiled.memory_analysis()
    _trim()
    before = _peak_from_here()
    training, starting = _timed(lambda: start(asked))  # most of it is compiling as well
    training = jax.block_until_ready(compiled(training))
    peak = _kib("VmHWM") - before

    def iterate() -> None:
        nonlocal training
        training = jax.block_until_ready(compiled(training))

    return {
        **_repeated(iterate),
        "compile_s": making[0] + starting[0],
        "compile_processor_s": making[1] + starting[1],
        "steps": row.members * row.environments * row.unroll,
        "temporary_mib": sizes.temp_size_in_bytes / 2**20,
        "carried_mib": sizes.argument_size_in_bytes / 2**20,
        "peak_mib": peak / 2**10,
    }


def _job(row: Row) -> Job:
    """Half of the members pruned, in the iterations in which pruning goes on."""
    halved = row.members > 1
    spec = SweepSpec(
        env=row.task,
        seeds=row.members // 2 if halved else 1,
        sparsities="0,0.5" if halved else "0.5",
        steps=50 * row.environments * row.unroll,
        environments=row.environments,
        unroll=row.unroll,
        epochs=row.epochs,
        minibatches=row.minibatches,
        hidden=row.widths,
    )
    return job(spec)._replace(trunk=None, begin=0)


def _evaluation(row: Row) -> dict[str, Any]:
    """Episodes of full length under one attack."""
    env, keys = row.env, jax.random.split(jax.random.key(0), row.members)
    ball = Ball(jnp.full(1, 0.1))
    condition = evaluation.for_all(Condition(attacks.make(row.attack), ball), row.members)
    play = partial(evaluation.play, env, Victim(_agents(row)), (condition,), keys, EPISODES)
    (tally, _), first = _timed(play)
    return _with_compiling(first, _repeated(play)) | {"steps": int(tally.length.sum())}


def _certificates(row: Row) -> dict[str, Any]:
    """All bounds on every member at made-up states of five episodes."""
    everyone = _population(row)
    shape = (row.members, row.states // 5, 5)
    seen = np.random.default_rng(0).normal(size=(*shape, row.sizes.observation)).astype(np.float32)
    certify = partial(certification.certify, everyone, Visits(seen, np.ones(shape, bool)))
    _, first = _timed(certify)
    return _with_compiling(first, _repeated(certify))


def _returned(row: Row) -> dict[str, Any]:
    """Clean episodes with the bounds at their states under every radius, and some under MAD."""
    keys = jax.random.split(jax.random.key(0), row.members)
    spec = ReturnSpec(return_episodes=EPISODES, return_eps="0.001,0.002,0.003", return_attacked=1)
    made = partial(spent, spec, _population(row), keys, lambda tally, steps: None)
    _, first = _timed(made)
    return _with_compiling(first, _repeated(made)) | {"steps": spec.total_steps(row.members, SHORT)}


def _population(row: Row) -> Population:
    spec = SweepSpec(env=row.task, seeds=row.members, sparsities="0", hidden=row.widths)
    members, (budget,) = population.members(spec), spec.budgets
    return Population(members, row.env, _agents(row), np.zeros(row.members, bool), budget, spec)


def _agents(row: Row) -> Any:
    keys = jax.random.split(jax.random.key(0), row.members)
    sizes = row.sizes
    return jax.vmap(lambda key: agent.init(key, sizes.observation, sizes.action, hidden=row.widths))(keys)


def _timed(run: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What it returns, and how many seconds and processor seconds it took."""
    began, processor = time.perf_counter(), time.process_time()
    made = jax.block_until_ready(run())
    return made, (time.perf_counter() - began, time.process_time() - processor)


def _repeated(run: Callable[[], Any]) -> dict[str, float]:
    """Medians of several times."""
    taken: list[tuple[float, float]] = []
    while len(taken) < 2 or (len(taken) < MOST_TIMES and sum(p for _, p in taken) < PROCESSOR_SECONDS):
        taken.append(_timed(run)[1])
    seconds, processor = (median(times) for times in zip(*taken, strict=True))
    return {"seconds": seconds, "processor_s": processor}


def _with_compiling(first: tuple[float, float], later: dict[str, float]) -> dict[str, Any]:
    """What the first time took more than later ones is that of compiling."""
    making = {
        "compile_s": first[0] - later["seconds"],
        "compile_processor_s": first[1] - later["processor_s"],
    }
    return later | making


def _keep(row: dict[str, Any]) -> None:
    schema = dict.fromkeys(NUMBERS, pl.Float64)
    before = [pl.read_csv(TABLE, schema_overrides=schema)] if TABLE.is_file() else []
    pl.concat([*before, pl.DataFrame(row, schema_overrides=schema)]).write_csv(TABLE)
    print(row, flush=True)


def _drop_programs() -> None:
    jax.clear_caches()
    _trim()


def _trim() -> None:
    """Give back what is free, so that what is held can be told from it."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def _peak_from_here() -> int:
    """Forget the most that this process has held until now; KiB that it holds. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")
    return _kib("VmRSS")


def _kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


if __name__ == "__main__":
    main()
