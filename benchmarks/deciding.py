"""The experiment that can decide: many seeds, attackers that were looked for, verdicts at planned looks.

    python -m benchmarks.deciding --task halfcheetah --seeds 0:6

trains so many seeds at five sparsities, looks for attackers of every member (successive halving, warm starts
from the dense twin) and keeps small tables in `benchmarks/results/deciding/`. Every call adds seeds to
its experiment, on any machine; the report is made of all that are there, and none is run twice. What was
stopped goes on where it was. Calls that differ in more than their seeds belong to different experiments.
With `--learned-under mjx` everything is measured as with native physics, but what learns has learned before,
on an accelerator: see `benchmarks.learn_here`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl
import tyro

import jaxprune as jp
from benchmarks import deciding_report
from benchmarks.deciding_report import ABOUT, BOUNDS, REPORT, SHARDS, searched
from experiments.command import in_one_line
from jaxprune import device, parse
from jaxprune.analysis import strongest_by_steps
from jaxprune.job import job
from jaxprune.progress import Meter, Update
from jaxprune.run_folder import RunFolder

LAYOUT: dict[str, dict[str, Any]] = {
    "native": {},
    "mjx": {"physics": "mjx", "environments": 128, "unroll": 64, "minibatches": 32, "certify_episodes": 2},
}
"""How training is laid out: an accelerator takes as long for many environments as for few."""

SEARCH: dict[str, dict[str, Any]] = {
    "native": {"rungs": 5, "warm_starts": True, "transfer": True},
    "mjx": {},  # every rung is a program of another size, which an accelerator takes a minute to compile
}
"""How attackers are searched for: to the end, unless by successive halving."""

CERTIFICATES = "certificates.parquet"
"""In a run folder: the last table of a sweep that a shard needs."""

LEARNED_ON = "learned_on.txt"
"""In a run folder, when all is learned: the machine where members and adversaries were, if another one."""


@dataclass(frozen=True)
class Arguments:
    """One more shard of an experiment: seeds of one task, schedule, score, scope and arm."""

    task: str = "halfcheetah"
    """Task."""
    seeds: str = "0:6"
    """Which seeds, first:stop without the stop."""
    schedule: str = "posthoc"
    """When weights go."""
    score: str = "magnitude"
    """Which weights go first."""
    scope: str = "layer"
    """Among which weights they are ranked."""
    arm: str = "ppo"
    """Training arm."""
    steps: int = 1_000_000
    """Environment steps of training per member."""
    attack_steps: int = 200_000
    """Environment steps of training per adversary that is trained to the end."""
    learned_under: Literal["native", "mjx"] = "native"
    """Physics under which members and adversaries learn; all are measured under native physics."""
    out: Path = Path("runs/deciding")
    """Where the runs are kept."""

    @property
    def experiment(self) -> str:
        """The name of what its shards have in common; what is as usual is left out."""
        usual = Arguments()
        parts = [self.task, self.schedule, self.score, self.arm]
        parts += [self.scope] * (self.scope != usual.scope)
        parts += [f"{self.steps}_steps"] * (self.steps != usual.steps)
        parts += [f"{self.attack_steps}_attack_steps"] * (self.attack_steps != usual.attack_steps)
        parts += [self.learned_under] * (self.learned_under != usual.learned_under)
        return "-".join(parts).replace(":", "_").replace("/", "-")

    @property
    def name(self) -> str:
        """The name of the shard."""
        return f"{self.experiment}-{self.seeds.replace(':', '_').replace(',', '+')}"


def main(arguments: Arguments) -> None:
    """Do the shard if it is not there yet, and write the report of all."""
    device.keep_compiled()
    if not (SHARDS / f"{arguments.name}-results.csv").is_file():
        check_new(arguments)
        for table, rows in shard(arguments, arguments.out / arguments.name).items():
            SHARDS.mkdir(exist_ok=True)
            rows.write_csv(SHARDS / f"{arguments.name}-{table}.csv", float_precision=6)
    REPORT.write_text(deciding_report.report())


def check_new(arguments: Arguments) -> None:
    """Raise SpecError where another shard of the experiment holds one of the seeds, or searched otherwise."""
    asked, now = set(parse.seeds("seeds", arguments.seeds)), described(search(arguments))
    for path in deciding_report.shards().get(arguments.experiment, []):
        if both := asked & set(pl.read_csv(path)["seed"]):
            raise jp.SpecError(f"seeds: {min(both)} is in {path.name}; each seed counts once")
        if (before := searched(path)) != now:
            raise jp.SpecError(f"seeds: attackers of {path.name} were searched for by {before}; now by {now}")


def shard(arguments: Arguments, folder: Path) -> dict[str, pl.DataFrame]:
    """Train and attack: the results of the attack search and what it took, and the certificates.

    Raises SpecError where the folder holds another run.
    """
    spec = members(arguments)
    if folder.is_dir():
        begun = RunFolder.open(folder).spec()
        if begun != replace(spec, physics=begun.physics):  # the run knows which one auto was
            raise jp.SpecError(f"out: {folder} holds another run; choose another --out")
    if arguments.learned_under != "native" and not (folder / LEARNED_ON).is_file():
        raise jp.SpecError(f"out: {folder} is not all there; benchmarks.learn_here makes it elsewhere")
    if not (folder / CERTIFICATES).is_file():
        if arguments.learned_under == "native":
            trained_and_certified(spec, folder)
        else:
            certified(folder)
    population = jp.Population.load(folder)
    found = jp.attack_search.run(search(arguments), population, _show, folder / "attackers")
    results, _ = jp.attack_search.of_a_run(found.results, population)
    certificates = pl.read_parquet(folder / CERTIFICATES).filter(
        pl.col("quantity") == "delta", pl.col("bound").is_in(BOUNDS)
    )
    tables = {
        "certificates": certificates.select("seed", "sparsity_asked", "bound", "value", "unmasked"),
        "effort": strongest_by_steps(found.rungs).select(
            "member", "attack", "steps", "total_steps", "attackers", "return_mean", "extrapolated"
        ),
        "transfer": moved(found.transfer, population),
        "about": about(arguments, folder),
        "results": results,  # last, since a shard counts as done when they are there
    }
    return {name: rows for name, rows in tables.items() if rows.height}


def members(arguments: Arguments) -> jp.SweepSpec:
    """The members, and how their training is laid out."""
    return jp.SweepSpec(
        env=arguments.task,
        arms=arguments.arm,
        seeds=arguments.seeds,
        steps=arguments.steps,
        sparsities="0,0.3,0.5,0.7,0.9",
        schedule=arguments.schedule,
        score=arguments.score,
        scope=arguments.scope,
        **LAYOUT[arguments.learned_under],
    )


def trained_and_certified(spec: jp.SweepSpec, folder: Path) -> None:
    """The sweep in the folder, gone on with if it is there."""
    if folder.is_dir():
        jp.sweep.resume(folder, _show)
    else:
        jp.sweep.run(spec, folder, _show)


def certified(folder: Path) -> None:
    """The certificates of a sweep of trained members in their folder."""
    run = RunFolder.open(folder)
    population, asked = jp.Population.load(folder), job(run.spec())
    with Meter(_show) as meter:
        sampled, visits = jp.sweep.visit(asked, population, meter)
        found = jp.sweep.certify(asked, population, visits, meter)
    budgets = asked.spec.budgets
    run.write_table(
        "certificates", jp.certification.certificates(population, budgets, found, visits, sampled)
    )


def search(arguments: Arguments) -> jp.AttackSearchSpec:
    """How attackers are looked for."""
    return jp.AttackSearchSpec(
        search="small", steps=arguments.attack_steps, episodes=20, **SEARCH[arguments.learned_under]
    )


def about(arguments: Arguments, folder: Path) -> pl.DataFrame:
    """How attackers were searched for, and on which machine members and adversaries learned, if another."""
    elsewhere = folder / LEARNED_ON
    machine = elsewhere.read_text() if elsewhere.is_file() else None
    return pl.DataFrame({"search": [described(search(arguments))], "learned_on": [machine]}, ABOUT)


def described(spec: jp.AttackSearchSpec) -> str:
    """A search for adversaries in words."""
    length = f"{spec.settings} settings each, {spec.steps_per_adversary:,} steps"
    if spec.rungs == 1:
        return f"{length}, all to the end"
    first = spec.rung_steps[0] // spec.effort.recipe.steps
    warm = ", and one warm start" if spec.warm_starts else ""
    return (
        f"{length} by successive halving in {spec.rungs} rungs (the first ends after {first} iterations of "
        f"PPO), the strongest of every rung as it was there{warm}"
    )


def moved(transfer: pl.DataFrame, population: jp.Population) -> pl.DataFrame:
    """What each learned attacker leaves each sibling of the member for which it was found."""
    asked = dict(enumerate(population.members.sparsity.tolist()))
    return transfer.select(
        "seed",
        "attack",
        pl.col("from_member").replace_strict(asked).alias("found_for"),
        pl.col("to_member").replace_strict(asked).alias("sparsity_asked"),
        "return_mean",
    )


def _show(update: Update) -> None:
    print(f"{update.phase}: {update.steps_done:,} steps, {update.steps_per_second:,.0f} a second", flush=True)


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
