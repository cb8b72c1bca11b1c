"""Attack agents as hard as can be: `python -m experiments.attack --run runs/NAME`, or one `--agent FILE`."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import polars as pl
import tyro
from rich import box
from rich.table import Table

from experiments.command import refuse_changes, run_command
from experiments.victims import Source, Victims
from jaxprune import SpecError, SweepSpec, battery, device
from jaxprune.analysis import STRONGEST, sweet_spots
from jaxprune.battery import Battery, BatterySpec
from jaxprune.envs import Environment
from jaxprune.interrupt import deferred_interrupt
from jaxprune.report import LiveProgress, figures, open_console, plan, print_summary
from jaxprune.report.numbers import low_to_high, number
from jaxprune.run_folder import FORMAT, RunFolder, provenance
from jaxprune.sweep import Update


@dataclass(frozen=True)
class Arguments:
    """Attack every member of a run, or one imported agent, with everything there is."""

    battery: tyro.conf.OmitArgPrefixes[BatterySpec]
    victims: tyro.conf.OmitArgPrefixes[Source]
    out: Path | None = None
    """New folder for the tables. Default: RUN/attacks-TIME, or runs/attacks-AGENT-TIME."""
    resume: Path | None = None
    """Go on with the interrupted attack in this folder; needs no other flag."""
    device: str = "auto"
    """Where to compute: auto, cpu, gpu or tpu."""


class Run(NamedTuple):
    """What is known of the run that trained the victims."""

    trained: SweepSpec
    certificates: pl.DataFrame


def main(arguments: Arguments) -> None:
    """Print the plan, attack with live progress, print the returns and where the tables are."""
    device.select(arguments.device)
    device.keep_compiled()
    if arguments.resume is not None:
        arguments = _interrupted(arguments)
    victims = arguments.victims.load()
    spec, env, of_run = _request(arguments, victims)
    console = open_console()
    spec.ball(env)  # a budget that does not fit is refused before anything is written
    folder = _new_folder(arguments, spec, env) if arguments.resume is None else RunFolder(arguments.resume)
    count = len(victims.diverged)
    steps = battery.total_steps(spec, env, count)
    console.print(plan(_plan(spec, env, count, steps)))
    try:
        with deferred_interrupt() as interrupt, LiveProgress(console, steps) as live:

            def watch(update: Update) -> None:
                live.update(*update)
                if interrupt.pressed:
                    raise KeyboardInterrupt

            found = battery.run(spec, env, victims.agents, watch, folder.path / "attackers", victims.diverged)
    except KeyboardInterrupt:
        resume = f"python -m experiments.attack --resume {folder.path}"
        console.print(f"\nstopped; go on with: {resume}", soft_wrap=True)
        sys.exit(130)
    folder.write_table("results", found.results)
    folder.write_table("tried", found.tried)
    console.print(_table(found))
    if of_run is not None:
        _report_run(folder, found.results, of_run, env)
    console.print(f"tables, as .csv and .parquet, and the attackers are in {folder.path}", soft_wrap=True)


def _report_run(folder: RunFolder, results: pl.DataFrame, of_run: Run, env: Environment) -> None:
    """What the sweep's report says, under these attacks: regret, sweet spots, and the bounds beside them."""
    kinds, regret = battery.of_a_run(results, of_run.trained, env)
    folder.write_table("regret", regret)
    folder.write_table("verdicts", sweet_spots(regret, alpha=of_run.trained.error))
    budget = regret.select("norm", "space", "eps").unique()
    certificates = of_run.certificates.join(budget, on=budget.columns, how="semi")
    for name, figure in figures.population_figures(kinds, certificates, regret).items():
        figures.save(figure, folder.path / f"{name}.png")
    print_summary(open_console(), kinds, regret, certificates, alpha=of_run.trained.error)


def _new_folder(arguments: Arguments, spec: BatterySpec, env: Environment) -> RunFolder:
    """A folder that knows all that is needed to go on with this attack, the physics included."""
    folder = arguments.victims.new_folder(arguments.out, "attacks")
    source = replace(arguments.victims, physics=env.physics)
    folder.write_json(
        "attack.json",
        {"format": FORMAT, "battery": spec.to_dict(), "victims": source.to_dict(), **provenance()},
    )
    return folder


def _interrupted(arguments: Arguments) -> Arguments:
    """What the attack in the folder `resume` was asked to do.

    Raises SpecError if the folder does not say, if this program would not go on with it as it was begun, or
    if the command line asks for something else.
    """
    path = arguments.resume
    asked = RunFolder(path, "attack.json").continuable()
    try:
        spec, victims = BatterySpec.from_dict(asked["battery"]), Source.from_dict(asked["victims"])
    except (KeyError, TypeError) as error:
        raise SpecError(f"resume: {path / 'attack.json'} cannot be read ({error})") from None
    refuse_changes(arguments.battery, spec, path)
    refuse_changes(arguments.victims, victims, path)
    return Arguments(spec, victims, resume=path)


def _request(arguments: Arguments, victims: Victims) -> tuple[BatterySpec, Environment, Run | None]:
    """What to do, the environment, and the run that the victims come from."""
    spec, trained = arguments.battery, victims.trained
    if trained is None:
        return spec, victims.env, None
    if spec.eps == "published":
        spec = replace(spec, eps=(max(trained.budgets),), norm=trained.norm, space=trained.space)
    return spec, victims.env, Run(trained, RunFolder(arguments.victims.run).table("certificates"))


def _plan(spec: BatterySpec, env: Environment, members: int, steps: int) -> dict[str, str]:
    eps = spec.eps if spec.eps == "published" else ", ".join(f"{value:g}" for value in spec.eps)
    return {
        "task": f"{env.task}, physics {env.physics}",
        "victims": str(members),
        "budget": f"eps {eps} ({spec.norm}, {spec.space})",
        "attackers": ", ".join(f"{spec.attackers(name)} {name}" for name in spec.attacks),
        "training": f"{spec.iterations * spec.recipe.steps:,} steps per adversary",
        "episodes": f"{spec.selection_episodes} to select, {spec.episodes} fresh",
        "steps": f"at most {steps:,} in all",
    }


def _table(found: Battery) -> Table:
    """Returns by victim and attack: the chosen attacker on fresh episodes, and where it came from."""
    table = Table(
        "victim", "sparsity", "attack", box=box.SIMPLE_HEAD, title="mean return under the strongest attacker"
    )
    for column in ("fresh episodes", "interval", "as selected", "median attacker", "tried"):
        table.add_column(column, justify="right")
    fresh, selection = (
        found.results.filter(pl.col("episode_set") == episodes) for episodes in ("fresh", "selection")
    )
    for row, as_selected in zip(fresh.iter_rows(named=True), selection["return_mean"], strict=True):
        name = row["attack"]
        table.add_row(
            str(row["member"]),
            f"{row['sparsity']:.2f}",
            f"{name} ({row['found_by']})" if name == STRONGEST else name,
            number(row["return_mean"]),
            low_to_high(row["return_low"], row["return_high"]),
            number(as_selected),
            number(row["return_median_attacker"]),
            str(row["attackers_tried"]),
        )
    return table


if __name__ == "__main__":
    run_command(Arguments, main)
