"""Schedules side by side at one high sparsity: what each leaves of the clean and of the attacked return.

    python -m benchmarks.schedules

trains the same seeds dense and with nine tenths of the policy's weights removed, by every schedule one after
the other; what is done is kept in `benchmarks/results/schedules.csv`, so a run that is stopped goes on
where it was. The field's order for PPO on clean returns is gradual >= RigL ~ SET >= static (Graesser et al.,
The State of Sparse Training in Deep Reinforcement Learning, ICML 2022).
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import tyro

import jaxprune as jp
from benchmarks.machine import machine_line
from experiments.command import in_one_line
from jaxprune import device
from jaxprune.analysis import CLEAN, Student, adjusted_p, strongest
from jaxprune.progress import Update
from jaxprune.report.numbers import low_to_high, number, signed

RESULTS = Path(__file__).parent / "results"
TABLE, REPORT = RESULTS / "schedules.csv", RESULTS / "schedules.md"

DENSE = "dense"
ORDER = ("gradual", "rigl", "set", "static")
"""The schedules, in the order in which the field finds them."""


@dataclass(frozen=True)
class Arguments:
    """Which task, and how long each member trains."""

    task: str = "hopper"
    """Task."""
    seeds: int = 6
    """Members of each schedule."""
    steps: int = 1_000_000
    """Environment steps of training per member."""
    sparsity: float = 0.9
    """Of the policy; the value network stays dense, as `rigl` and `set` exchange weights of policies only."""
    out: Path = Path("runs/schedules")
    """Where the runs are kept."""


def main(arguments: Arguments) -> None:
    """Do what is not done yet."""
    device.keep_compiled()
    for name in (DENSE, *ORDER):
        if not (TABLE.is_file() and name in pl.read_csv(TABLE)["schedule"]):
            _keep(piece(arguments, name))
    REPORT.write_text(report(arguments))
    print(REPORT.read_text())


def piece(arguments: Arguments, name: str) -> pl.DataFrame:
    """One schedule: a row per seed, clean and under the strongest attack, fresh episodes."""
    spec = jp.SweepSpec(
        env=arguments.task,
        seeds=arguments.seeds,
        steps=arguments.steps,
        sparsities="0" if name == DENSE else str(arguments.sparsity),
        schedule=ORDER[0] if name == DENSE else name,
        scope="erk",
    )
    folder = arguments.out / f"{arguments.task}-{name}"
    done = jp.sweep.resume(folder, _show) if folder.is_dir() else jp.sweep.run(spec, folder, _show)
    if done.results["diverged"].any():
        raise jp.SpecError(f"seeds: one of {name} diverged in {folder}; all are compared in pairs")
    clean = done.results.filter(attack=CLEAN).select("seed", clean="return_mean")
    attacked = strongest(done.results).select("seed", attacked="return_mean")
    return clean.join(attacked, on="seed").select(pl.lit(name).alias("schedule"), "seed", "clean", "attacked")


def _show(update: Update) -> None:
    print(f"{update.phase}: {update.steps_done:,} steps, {update.steps_per_second:,.0f} a second", flush=True)


def _keep(rows: pl.DataFrame) -> None:
    before = [pl.read_csv(TABLE, schema_overrides=rows.schema)] if TABLE.is_file() else []
    pl.concat([*before, rows]).write_csv(TABLE)


def report(arguments: Arguments) -> str:
    """The result as Markdown."""
    table = pl.read_csv(TABLE).sort("seed")
    of = {name: table.filter(schedule=name) for name in (DENSE, *ORDER)}
    kinds = ("clean", "attacked")
    means = [
        _row(
            name,
            *(_interval(rows[kind].to_numpy()) for kind in kinds),
            *(_paired_spread(rows[kind], of[DENSE][kind]) if name != DENSE else "" for kind in kinds),
        )
        for name, rows in of.items()
    ]
    pairs = [*pairwise(ORDER), (ORDER[0], ORDER[-1]), (DENSE, ORDER[0])]
    differences = np.stack(
        [of[one][kind].to_numpy() - of[other][kind].to_numpy() for one, other in pairs for kind in kinds],
        axis=1,
    )
    p = adjusted_p(differences)
    compared = [
        _row(
            f"{one} minus {other}",
            *(
                f"{signed(differences[:, column].mean())} (sd {number(differences[:, column].std(ddof=1))}, "
                f"p {number(p[column])})"
                for column in (2 * place, 2 * place + 1)
            ),
        )
        for place, (one, other) in enumerate(pairs)
    ]
    return f"""# Schedules at a sparsity of {arguments.sparsity:g}

{machine_line("python -m benchmarks.schedules")}

{arguments.task}, native physics, {arguments.seeds} seeds of {arguments.steps:,} steps each, the policy \
pruned, the value network dense, Erdos-Renyi-kernel shares; gradual by magnitude. Raw undiscounted returns \
of the deterministic policy on 20 fresh episodes, means over seeds with 95 % intervals (Student's t); \
attacked: the stronger of random and MAD, chosen on other episodes.

| schedule | clean | attacked | sd of the pairs with dense, clean | attacked |
|---|---|---|---|---|
{chr(10).join(means)}

The smaller the standard deviation over seeds of a member minus its dense twin, the fewer seeds show a \
difference; these are of {arguments.seeds} pairs each.

Differences over the same seeds; p of the exact sign-flip test, two-sided, family-wise over all of this table.

| difference | clean | attacked |
|---|---|---|
{chr(10).join(compared)}
"""


def _paired_spread(of: pl.Series, dense: pl.Series) -> str:
    return number(float((of.to_numpy() - dense.to_numpy()).std(ddof=1)))


def _interval(values: np.ndarray) -> str:
    mean, low, high = Student().mean(values)
    return f"{number(mean)} {low_to_high(low, high)}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
