"""Attack agents as hard as can be: `python -m experiments.attack --run runs/NAME`, or one `--agent FILE`."""

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import tyro
from rich.console import Console

from experiments.by_arm import draw
from experiments.command import refuse_changes, run_command
from experiments.report import write_page
from experiments.victims import Source, check_has_dense
from jaxprune import Population, SpecError, attack_search, device
from jaxprune.analysis import strongest_by_steps, sweet_spots
from jaxprune.attack_search import AttackSearch, AttackSearchSpec
from jaxprune.interrupt import exit_code
from jaxprune.report import (
    LiveProgress,
    Words,
    attack_words,
    effort_figure,
    joined,
    open_console,
    plan,
    save,
    screen_words,
    search_alarms,
)
from jaxprune.report.page import NAME
from jaxprune.run_folder import FORMAT, RunFolder, provenance
from jaxprune.training.halving import TELLING

ATTACKERS = "attackers"
"""In the folder of an attack: what has been learned and measured, to go on from."""


@dataclass(frozen=True)
class Arguments:
    """Attack every member of a run, or one imported agent, with everything there is."""

    search: tyro.conf.OmitArgPrefixes[AttackSearchSpec]
    victims: tyro.conf.OmitArgPrefixes[Source]
    out: Path | None = None
    """New folder for the tables. Default: RUN/attacks-TIME, or runs/attacks-AGENT-TIME."""
    resume: Path | None = None
    """Go on with the interrupted attack in this folder; needs no other flag."""
    device: str = "auto"
    """Where to compute: auto, cpu, gpu or tpu."""


def main(arguments: Arguments) -> None:
    """Print the plan, attack with live progress, print the returns and where the tables are."""
    device.select(arguments.device)
    device.keep_compiled()
    if arguments.resume is not None:
        arguments = _interrupted(arguments, arguments.resume)
    spec = arguments.search
    # What does not fit, and a run that is not finished, are refused before anything is written.
    population = arguments.victims.load(spec.eps, spec.norm, spec.space)
    check_has_dense(population)
    attack_search.check(spec, population)
    resumed = arguments.resume
    if resumed is not None:
        attack_search.check_resumable(resumed / ATTACKERS, spec, population)
    run = arguments.victims.run
    # What the run that trained the victims says of them, if they come from one.
    certificates = None if run is None else RunFolder(run).table("certificates")
    console = open_console()
    folder = _new_folder(arguments, population) if resumed is None else RunFolder(resumed)
    transfers = len(attack_search.pairs(population.members)[0]) if spec.transfer else 0
    steps = attack_search.total_steps(spec, population.env, population.members.size, transfers)
    console.print(plan(_plan(spec, population, steps)))
    try:
        with LiveProgress(console, steps) as live:
            found = attack_search.run(spec, population, live.show, folder.path / ATTACKERS)
        _report(console, folder, found, spec, population, certificates)
    except KeyboardInterrupt as stopped:
        resume = f"python -m experiments.attack --resume {shlex.quote(str(folder.path))}"
        console.print(f"\nstopped; go on with: {resume}", soft_wrap=True)
        sys.exit(exit_code(stopped))


def _report(
    console: Console,
    folder: RunFolder,
    found: AttackSearch,
    spec: AttackSearchSpec,
    population: Population,
    certificates: pl.DataFrame | None,
) -> None:
    """Write the tables, draw them, print what they say and where they are."""
    folder.write_table("results", found.results)
    folder.write_table("tried", found.tried)
    effort = None
    if spec.rungs > 1:
        folder.write_table("rungs", found.rungs)
        effort = strongest_by_steps(found.rungs)
        folder.write_table("effort", effort)
        title = f"{population.env.task} on {population.env.physics}, {population.budget.in_words()}"
        save(effort_figure(effort, title), folder.path / "effort.png")
    if spec.transfer:
        folder.write_table("transfer", found.transfer)
    if certificates is None:
        words = attack_words(found.results)
    else:
        words = _of_run(folder, found.results, population, certificates)
    joined([Words(search_alarms(found.results, effort, spec.search)), words]).print(console)
    console.print(f"tables, as .csv and .parquet, and the attackers are in {folder.path}", soft_wrap=True)
    write_page(console, folder.path)


def _of_run(
    folder: RunFolder,
    results: pl.DataFrame,
    population: Population,
    certificates: pl.DataFrame,
) -> Words:
    """What the sweep says, under these attacks: regret, sweet spots, and the bounds beside them."""
    kinds, regret = attack_search.of_a_run(results, population)
    folder.write_table("regret", regret)
    verdicts = sweet_spots(regret, alpha=population.error)
    folder.write_table("verdicts", verdicts)
    budget = regret.select("norm", "space", "eps").unique()
    certificates = certificates.join(budget, on=budget.columns, how="semi")
    draw(folder.path, kinds, certificates, regret, None)
    return screen_words(kinds, regret, certificates, verdicts, alpha=population.error)


def _new_folder(arguments: Arguments, population: Population) -> RunFolder:
    """A folder that knows all that is needed to go on with this attack, the physics included."""
    folder = arguments.victims.new_folder(arguments.out, "attacks")
    source = replace(arguments.victims, physics=population.env.physics)
    asked = {
        "search": arguments.search.to_dict(),
        "population": population.to_dict(),
        "victims": source.to_dict(),
    }
    folder.write_json("attack.json", {"format": FORMAT, **asked, **provenance()})
    return folder


def _interrupted(arguments: Arguments, path: Path) -> Arguments:
    """What the attack in the folder `path` was asked to do.

    Raises SpecError if the folder does not say, if there is nothing left to do, if this program would not go
    on with it as it was begun, or if the command line asks for something else.
    """
    spec, victims = asked_of(path)
    refuse_changes(arguments.search, spec, path)
    refuse_changes(arguments.victims, victims, path)
    if _finished(RunFolder(path), spec, victims):
        raise SpecError(f"resume: {path} is finished; its tables are there")
    return Arguments(spec, victims, resume=path)


def _finished(folder: RunFolder, spec: AttackSearchSpec, victims: Source) -> bool:
    """Whether all tables are there that are asked for, and the page, which comes last."""
    tables = {
        "results": True,
        "tried": True,
        "effort": spec.rungs > 1,
        "transfer": spec.transfer,
        "verdicts": victims.run is not None,
    }
    written = all(folder.has_table(name) for name, asked in tables.items() if asked)
    return written and (folder.path / NAME).is_file()


def asked_of(path: Path) -> tuple[AttackSearchSpec, Source]:
    """What the attack in the folder `path` was asked to do, and of whom.

    Raises SpecError if the folder does not say, or this program would not go on with it as it was begun.
    """
    asked = RunFolder(path, "attack.json").continuable()
    try:
        return AttackSearchSpec.from_dict(asked["search"]), Source.from_dict(asked["victims"])
    except (AttributeError, KeyError, TypeError) as error:
        raise SpecError(f"resume: {path / 'attack.json'} cannot be read ({error})") from None


def _plan(spec: AttackSearchSpec, population: Population, steps: int) -> dict[str, str]:
    sparsities = ", ".join(f"{value:g}" for value in dict.fromkeys(population.members.sparsity.tolist()))
    return {
        "task": population.env.in_words(),
        "victims": f"{population.members.size}: sparsities {sparsities}; {spec.policy} policy",
        "budget": population.budget.in_words(),
        "attackers": ", ".join(f"{spec.attackers(name)} {name}" for name in spec.attacks),
        "training": _training(spec),
        "episodes": f"{spec.selection_episodes} to select, {spec.episodes} fresh",
        "steps": f"at most {steps:,} in all",
    }


def _training(spec: AttackSearchSpec) -> str:
    """How long adversaries are trained, how many of them, and which options therefore have no part."""
    if not spec.learned:
        return "none, so that search and steps have no part"
    if not spec.trained:
        return "of critics alone, so that steps have no part"
    warm = f"; from a sibling's: 1 x {spec.warm_steps:,}" if spec.warm_starts else ""
    if spec.rungs == 1:
        return f"{spec.steps_per_adversary:,} steps per adversary{warm}"
    rungs = " > ".join(
        f"{count} x {steps:,}" for count, steps in zip(spec.rung_sizes, spec.rung_steps, strict=True)
    )
    return f"adversaries x steps of each, by rung: {rungs}{warm}{_too_early(spec)}"


def _too_early(spec: AttackSearchSpec) -> str:
    """A hint where the first rung stops adversaries of which nothing is known yet."""
    first = spec.rung_steps[0] // spec.effort.recipe.steps
    if first >= TELLING:
        return ""
    return f"; the first is {first} iteration{'s' * (first > 1)} of PPO, whose order says little of the end"


if __name__ == "__main__":
    run_command(Arguments, main)
