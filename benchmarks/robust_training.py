"""Robust training arms side by side: natural return, and return under attackers that were looked for.

    python -m benchmarks.robust_training --tasks hopper --arms ppo,sa-sgld --steps 1000000

trains the members of one arm and task after the other and attacks them, each a piece of its own: what is done
is kept in `runs/robust/TASK-ARM` and a small table in `benchmarks/results/robust_training.csv`, so a run that
is stopped goes on where it was. `benchmarks/results/robust_training.md` is written after every piece.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import polars as pl
import tyro

import jaxprune as jp
from benchmarks.machine import machine_line
from experiments.command import in_one_line
from jaxprune import device
from jaxprune.analysis import STRONGEST, Student, without_diverged
from jaxprune.envs import published_eps
from jaxprune.progress import Update
from jaxprune.training.arms import read_arm

RESULTS = Path(__file__).parent / "results"
TABLE, REPORT = RESULTS / "robust_training.csv", RESULTS / "robust_training.md"

PUBLISHED = {
    ("hopper", "ppo"): (3167, 636),
    ("hopper", "sa-sgld"): (3523, 1403),
    ("hopper", "sa-convex"): (3705, 1076),
    ("hopper", "atla"): (3291, 1772),
    ("halfcheetah", "ppo"): (7117, -661),
    ("halfcheetah", "sa-convex"): (3632, 3028),
    ("halfcheetah", "atla"): (6157, 5058),
}
"""Natural return and return under the strongest attack, medians of 21 agents as published (arXiv 2003.08938,
2101.08452); of SGLD the strongest rule, robust sarsa; ATLA's are of recurrent agents with SA."""


@dataclass(frozen=True)
class Arguments:
    """Which pieces to do, and how long each trains."""

    tasks: str = "hopper,halfcheetah"
    """Tasks, a comma list."""
    arms: str = "ppo,sa-sgld,sa-convex,radial,atla"
    """Training arms, a comma list."""
    seeds: int = 6
    """Members of each arm."""
    steps: int = 1_000_000
    """Environment steps of training per member."""
    sparsities: str = "0"
    """Sparsities of the members."""
    attack_steps: int = 200_000
    """Environment steps of training per adversary."""
    out: Path = Path("runs/robust")
    """Where the runs are kept."""


def main(arguments: Arguments) -> None:
    """Do what is not done yet."""
    device.keep_compiled()
    for task in arguments.tasks.split(","):
        for arm in arguments.arms.split(","):
            read_arm(arm, published_eps(task))
            if not _done(task, arm):
                _keep(piece(arguments, task, arm))
            REPORT.write_text(report())


def piece(arguments: Arguments, task: str, arm: str) -> pl.DataFrame:
    """One arm on one task: a row per member, natural and under each attack, fresh episodes."""
    folder = arguments.out / f"{task}-{re.sub(r'[^a-z0-9.=]+', '-', arm)}"
    spec = jp.SweepSpec(
        env=task,
        arms=arm,
        seeds=arguments.seeds,
        steps=arguments.steps,
        sparsities=arguments.sparsities,
        attacks="mad",
    )
    began = perf_counter()
    if (folder / "population").is_dir():
        population = jp.Population.load(folder)
    elif folder.is_dir():
        population = jp.sweep.resume(folder, _show).population
    else:
        population = jp.sweep.run(spec, folder, _show).population
    trained = perf_counter()
    search = jp.AttackSearchSpec(search="quick", steps=arguments.attack_steps, episodes=20)
    found = jp.attack_search.run(search, population, _show, folder / "attackers").results
    attacked = perf_counter()
    who = pl.DataFrame(population.members.columns()).select("member", "seed", "sparsity_asked")
    fresh = found.filter(pl.col("episode_set") == "fresh").join(who, on="member", how="left")
    fresh = without_diverged(fresh)
    return fresh.select(
        pl.lit(task).alias("task"),
        pl.lit(arm).alias("arm"),
        "seed",
        "sparsity_asked",
        "attack",
        "found_by",
        "return_mean",
        "attackers_tried",
        "eps",
        steps=pl.lit(arguments.steps),
        attack_steps=pl.lit(arguments.attack_steps),
        training_minutes=pl.lit((trained - began) / 60),
        attack_minutes=pl.lit((attacked - trained) / 60),
    )


def _show(update: Update) -> None:
    print(f"{update.phase}: {update.steps_done:,} steps, {update.steps_per_second:,.0f} a second", flush=True)


def _done(task: str, arm: str) -> bool:
    return TABLE.is_file() and not pl.read_csv(TABLE).filter(task=task, arm=arm).is_empty()


def _keep(rows: pl.DataFrame) -> None:
    before = [pl.read_csv(TABLE, schema_overrides=rows.schema)] if TABLE.is_file() else []
    pl.concat([*before, rows]).write_csv(TABLE)


def report() -> str:
    """The result as Markdown."""
    table = pl.read_csv(TABLE)
    lines = [_line(rows) for _, rows in table.group_by("task", "arm", "sparsity_asked", maintain_order=True)]
    return f"""# Robust training arms

{machine_line("python -m benchmarks.robust_training")}

Means over seeds with 95 % intervals (Student's t), raw undiscounted returns of the deterministic policy on \
20 fresh episodes; published numbers in brackets. The strongest attack of each member is chosen on other \
episodes, among as many attackers as the table says: random, critic, MAD, robust sarsa with two critics, \
alone and with MAD, and two adversaries each of SA-RL and PA-AD. PPO here is this library's, with fewer \
steps than published: compare the arms with each other first.

| task | arm | sparsity | seeds | million steps | natural | strongest attack | attackers | training, min \
| attack, min |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}
"""


def _line(rows: pl.DataFrame) -> str:
    """The row of one arm on one task."""
    first, strongest = rows.row(0, named=True), rows.filter(attack=STRONGEST)
    natural = _interval(rows.filter(attack="none")["return_mean"])
    others = PUBLISHED.get((first["task"], first["arm"]), ("-", "-"))
    cells = (
        first["task"],
        first["arm"],
        f"{first['sparsity_asked']:g}",
        strongest.height,
        f"{first['steps'] / 1e6:g}",
        f"{natural} ({others[0]})",
        f"{_interval(strongest['return_mean'])} ({others[1]})",
        strongest["attackers_tried"].max(),
        f"{first['training_minutes']:.1f}",
        f"{first['attack_minutes']:.1f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _interval(values: pl.Series) -> str:
    if values.len() < 2:
        return f"{values[0]:.0f}"
    mean, low, high = Student().mean(values.to_numpy())
    return f"{mean:.0f} [{low:.0f} .. {high:.0f}]"


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
