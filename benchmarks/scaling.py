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
from collections.abc import Callable, Mapping
from functools import partial
from importlib import reload
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from scipy.optimize import nnls

from benchmarks.machine import machine_line
from jaxprune import (
    Population,
    SweepSpec,
    attacks,
    certification,
    costs,
    envs,
    evaluation,
    population,
    speeds,
)
from jaxprune import coefficients as fitted
from jaxprune.analysis import CLEAN
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.certification.return_spec import ReturnSpec
from jaxprune.certification.spent import spent
from jaxprune.costs import Amounts, Recipe, Sizes
from jaxprune.envs import Environment
from jaxprune.evaluation import Condition, Visits
from jaxprune.job import Job, job
from jaxprune.policy import agent
from jaxprune.sweep import segment, start

RESULTS = Path(__file__).parent / "results"
TABLE, REPORT = RESULTS / "scaling.csv", RESULTS / "scaling.md"
COEFFICIENTS = Path(fitted.__file__)
NUMBERS = ("temporary_mib", "carried_mib", "peak_mib", "compile_s", "compile_processor_s")
"""Columns that are empty in some rows."""

PROCESSOR_SECONDS, MOST_TIMES = 0.5, 20
"""A part is measured until it has taken so long, and so often at most; twice at least."""

SHORT = 100
"""Steps of the episodes that are played here."""


class Row(NamedTuple):
    """What is measured. states: certified, of each member. attack: of the episodes."""

    part: str
    task: str = "hopper"
    members: int = 4
    environments: int = 16
    unroll: int = 128
    epochs: int = 10
    minibatches: int = 8
    hidden: str = "64 64"
    attack: str = ""
    states: int = 0

    @property
    def env(self) -> Environment:
        """Its environment; episodes are played in a short one that none leaves before its end."""
        return envs.make(self.task, horizon=SHORT if self.part in ("evaluation", "returned") else None)

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the hidden layers."""
        return tuple(map(int, self.hidden.split()))

    @property
    def sizes(self) -> Sizes:
        """Of its networks."""
        return Sizes(self.env.observation_size, self.widths, self.env.action_space.size)

    @property
    def recipe(self) -> Recipe:
        """Of its iteration."""
        return Recipe(self.environments, self.unroll, self.epochs, self.minibatches)


PARTS = ("training", "evaluation", "certificates", "returned")
"""Each is fitted with what those before it have told."""

EPISODES, RADII = 10, 3

SMALL = {"environments": 4, "unroll": 16, "minibatches": 4}
FEW = {"unroll": 32, "epochs": 4, "minibatches": 4}
ROWS = (
    *(Row("training", "probe/linear", members, **SMALL) for members in (1, 4, 16, 64, 256, 1024)),
    *(Row("training", "hopper", members, **FEW) for members in (1, 4)),
    Row("training", members=10),
    Row("training", members=256, epochs=4, **SMALL),
    Row("training", environments=64),
    Row("training", hidden="16"),
    Row("training", hidden="256 256"),
    Row("training", epochs=1),
    Row("training", "humanoid", **FEW),
    *(Row("evaluation", "halfcheetah", attack=attack) for attack in ("none", "random", "mad")),
    Row("evaluation", "probe/linear", attack="mad", hidden="16"),
    *(Row("certificates", members=2, states=states) for states in (500, 5000)),
    Row("certificates", members=2, states=500, hidden="16"),
    Row("certificates", "humanoid", members=2, states=500),
    *(Row("returned", "halfcheetah", states=SHORT * EPISODES, hidden=hidden) for hidden in ("16", "64 64")),
)


# --- measuring ------------------------------------------------------------------------------------------


def main() -> None:
    """Measure what is missing, fit, and write."""
    done = set() if not TABLE.is_file() else {_asked(row) for row in pl.read_csv(TABLE).iter_rows(named=True)}
    for row in ROWS:
        if row not in done:
            _keep({**row._asdict(), **_measured(row)})
            _drop_programs()
    table = pl.read_csv(TABLE)
    COEFFICIENTS.write_text(coefficients(table))
    reload(fitted)
    REPORT.write_text(report(table))
    print(REPORT.read_text())


def _asked(row: Mapping[str, Any]) -> Row:
    return Row(**{name: row[name] or "" if name == "attack" else row[name] for name in Row._fields})


def _measured(row: Row) -> dict[str, Any]:
    measure = {
        "training": _training,
        "evaluation": _evaluation,
        "certificates": _certificates,
        "returned": _returned,
    }[row.part]
    found = measure(row)
    side_by_side = row.members * (EPISODES if row.part == "evaluation" else row.environments)
    physics = speeds.physics_seconds(row.env, side_by_side) if row.part != "certificates" else 0.0
    return {
        "steps": 0,
        "temporary_mib": None,
        "carried_mib": None,
        "peak_mib": None,
        **found,
        "physics_us": 1e6 * physics,
        "network_s": speeds.network_seconds(),
        "machine": machine_line("python -m benchmarks.scaling"),
    }


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


# --- the model ------------------------------------------------------------------------------------------


def amounts(row: Mapping[str, Any]) -> Amounts:
    """What a row of the table comes to."""
    asked = _asked(row)
    if asked.part == "training":
        return costs.training(asked.members, asked.recipe, asked.sizes)
    if asked.part == "evaluation":
        return costs.playing(row["steps"], asked.sizes, asked.attack)
    if asked.part == "certificates":
        return costs.certifying(asked.members, asked.states, asked.sizes)
    clean, states = asked.members * EPISODES * SHORT, asked.members * asked.states * RADII
    attacked = costs.playing(row["steps"] - clean, asked.sizes, "mad")
    parts = (costs.playing(clean, asked.sizes, CLEAN), attacked, costs.returning(states, asked.sizes))
    return costs.added(*parts)


def physics(row: Mapping[str, Any]) -> float:
    """Processor seconds of the physics of a row."""
    return row["physics_us"] / 1e6 * row["steps"]


def predicted(row: Mapping[str, Any]) -> float:
    """Processor seconds of a row, by the coefficients that there are and the speed measured beside it."""
    slowness = row["network_s"] / fitted.REFERENCE_SECONDS
    return physics(row) + slowness * costs.cost(amounts(row), fitted.SECONDS)


def temporary(row: Mapping[str, Any]) -> float:
    """MiB that an iteration of a row needs beside what is carried, likewise."""
    asked = _asked(row)
    return asked.members * costs.cost(costs.remembering(asked.recipe, asked.sizes), fitted.BYTES) / 2**20


def coefficients(table: pl.DataFrame) -> str:
    """A module of the coefficients that come closest to the rows: none is negative, errors are relative."""
    reference = float(table["network_s"].median())
    seconds: dict[str, float] = {}
    for part in PARTS:
        rows = list(table.filter(part=part).iter_rows(named=True))
        made = [{name: n * row["network_s"] / reference for name, n in amounts(row).items()} for row in rows]
        left = [
            row["processor_s"] - physics(row) - sum(seconds.get(name, 0.0) * n for name, n in each.items())
            for row, each in zip(rows, made, strict=True)
        ]
        seconds |= _fitted(made, left, [row["processor_s"] for row in rows], seconds)
    trained = list(table.filter(part="training").iter_rows(named=True))
    held = [2**20 * row["temporary_mib"] / row["members"] for row in trained]
    needs = [costs.remembering(_asked(row).recipe, _asked(row).sizes) for row in trained]
    of_bytes = _fitted(needs, held, held, {})
    return f'''"""What one of each amount in `costs` costs. Written by `benchmarks.scaling`; do not edit."""

REFERENCE_SECONDS = {reference:.4g}
"""Processor seconds of `speeds.network_seconds` where the others were measured."""

SECONDS = {_literal(seconds)}
"""Processor seconds of one of each."""

COMPILING = {_literal(_compiling(table))}
"""Processor seconds of compiling the training of one arm, an evaluation, each attack in it, and so on."""

BYTES = {_literal(of_bytes)}
"""Bytes of one of each, of a member that is trained."""
'''


def _fitted(
    made: list[Amounts], left: list[float], whole: list[float], known: Mapping[str, float]
) -> dict[str, float]:
    """The coefficients of the amounts that are not known yet, by least squares of the relative errors."""
    names = [name for name in made[0] if name not in known]
    shares = np.array([[each[name] / all_ for name in names] for each, all_ in zip(made, whole, strict=True)])
    scale = np.maximum(np.abs(shares).max(0), 1e-300)
    found, _ = nnls(shares / scale, np.array(left) / np.array(whole))
    return dict(zip(names, (found / scale).tolist(), strict=True))


def _compiling(table: pl.DataFrame) -> dict[str, float]:
    def of(part: str) -> float:
        return float(table.filter(part=part)["compile_processor_s"].median())

    played = table.filter(part="evaluation", task="halfcheetah")
    clean, attacked = (
        float(played.filter((pl.col("attack") == "none") == is_clean)["compile_processor_s"].mean())
        for is_clean in (True, False)
    )
    return {
        "training": of("training"),
        "evaluation": clean,
        "attack": max(0.0, attacked - clean),
        "certificates": of("certificates"),
        "returned": of("returned"),
    }


def _literal(values: Mapping[str, float]) -> str:
    lines = "".join(f'    "{name}": {float(f"{value:.4g}")},\n' for name, value in values.items())
    return f"{{\n{lines}}}"


# --- the report -----------------------------------------------------------------------------------------

HEADS = {
    "training": "task | members | environments | steps | epochs x minibatches | hidden",
    "evaluation": "task | members | attack | hidden",
    "certificates": "task | members | states of each | hidden",
    "returned": "task | members | states of each | hidden",
}

MEMBERS_PER_ACCELERATOR = 256
"""Of the row of accelerator.csv that is extended."""


def report(table: pl.DataFrame) -> str:
    """Measured beside predicted, and what that says of more machines."""
    machines = "\n".join(table["machine"].unique(maintain_order=True))
    parts = "\n\n".join(_times(part, table.filter(part=part)) for part in PARTS)
    return f"""# Time and memory against members, environments and width

{machines}

Processor seconds of one call (one iteration of training; {SHORT}-step episodes; all bounds at all states), \
medians of a few; predicted by the coefficients of `jaxprune/coefficients.py`, from the cost of the physics \
and of a piece of network (`speeds`) measured beside each row. Seconds by the clock are in the table \
`scaling.csv`, and say little where the machine had other work ({_idle(table)}).

{parts}

## Memory

Of the training program, MiB: what its compiled form says it needs beside what is carried \
(`memory_analysis`, temporary), what the formula in `costs.remembering` says of that, what is carried, and \
by how much the process grew at most when it ran. Memory is linear in the members: a chunk of N needs N \
times a member's share.

| task | members | environments x steps | hidden | temporary, compiled | formula | carried | process grew |
|---|---|---|---|---|---|---|---|
{chr(10).join(_memory(row) for row in table.filter(part="training").iter_rows(named=True))}

{_on_paper()}
"""


def _idle(table: pl.DataFrame) -> str:
    busy = float((table["processor_s"] / table["seconds"]).median())
    return f"in the median row {busy:.1f} cores were at work for it"


def _times(part: str, rows: pl.DataFrame) -> str:
    lines = []
    for row in rows.iter_rows(named=True):
        asked, said = _asked(row), predicted(row)
        cells = {
            "task": asked.task,
            "members": asked.members,
            "environments": asked.environments,
            "steps": asked.unroll,
            "epochs x minibatches": f"{asked.epochs} x {asked.minibatches}",
            "hidden": asked.hidden,
            "attack": asked.attack,
            "states of each": asked.states,
        }
        shown = [str(cells[name]) for name in HEADS[part].split(" | ")]
        speed = f"{row['steps'] / row['processor_s'] / 1e3:.1f}" if row["steps"] else "-"
        shown += [f"{row['processor_s']:.3g}", f"{said:.3g}", f"{said / row['processor_s']:.2f}", speed]
        making = row["compile_processor_s"]
        shown.append("not measured" if making is None else f"{making:.0f}")
        lines.append(f"| {' | '.join(shown)} |")
    head = f"{HEADS[part]} | measured, s | predicted, s | ratio | thousand steps/s of a core | compiling, s"
    rule = "|".join(["---"] * (head.count("|") + 1))
    return "\n".join([f"## {part.capitalize()}", "", f"| {head} |", f"|{rule}|", *lines])


def _memory(row: dict[str, Any]) -> str:
    grew = "not measured" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
    asked = _asked(row)
    return (
        f"| {asked.task} | {asked.members} | {asked.environments} x {asked.unroll} | {asked.hidden} "
        f"| {row['temporary_mib']:.1f} | {temporary(row):.1f} | {row['carried_mib']:.1f} | {grew} |"
    )


def _on_paper() -> str:
    """One accelerator, extended to 8 and 256."""
    rows = pl.read_csv(RESULTS / "accelerator.csv").filter(task="hopper", arms="ppo").sort("members")
    few, many = rows.filter(members=16).row(-1, named=True), rows.filter(members=256).row(-1, named=True)
    spec = SweepSpec()
    steps = spec.steps / spec.environments

    def minutes(row: dict[str, Any]) -> float:
        """Of training, were every member of the row one of the default sweep."""
        return steps * row["members"] * spec.environments / row["steps_per_s"] / 60

    full, thin = minutes(many), minutes(few)
    compiling = (many["start_s"] + many["compile_s"]) / 60
    lines = []
    for count in (1, 8, 256):
        members = MEMBERS_PER_ACCELERATOR * count
        lines.append(
            f"| {count} | {members:,} | {full + compiling:.0f} | {members / (full + compiling):,.0f} |"
        )
    least = thin + compiling
    return f"""## On paper: 8 and 256 accelerators

Not measured. One {many["device"]} trained {many["members"]} Hopper members at \
{many["steps_per_s"] / 1e3:.0f} and {few["members"]} at {few["steps_per_s"] / 1e3:.0f} thousand steps/s \
(`accelerator.md`). Assumed: one process per accelerator, which trains seeds of its own (`--distributed`); \
members never communicate, so nothing is sent while they train; the same program on every device; compiling, \
{compiling:.1f} min, is done by all at the same time; the slowest is as fast as the others.

| accelerators | members | minutes of training (weak scaling) | members per minute |
|---|---|---|---|
{chr(10).join(lines)}

What limits is not the network between them but how few members each has: a step of the batch takes 10 to 15 \
ms whether it moves {few["members"]} or {many["members"]} members. The same {8 * MEMBERS_PER_ACCELERATOR:,} \
members on 256 accelerators, 8 on each, still take {least:.0f} min in place of the \
{full + compiling:.0f} min on 8: {(full + compiling) / least:.1f} times as fast for 32 times the devices. \
After training, each process evaluates and certifies its own members, one member after the other, and \
process 0 reads all tables to merge them: of {256 * MEMBERS_PER_ACCELERATOR:,} members this is the longest \
serial part, and has not been tried.
"""


if __name__ == "__main__":
    main()
