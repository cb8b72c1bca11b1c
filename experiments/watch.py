"""Watch policies, clean and attacked: `python -m experiments.watch --run FOLDER`, or with `--agent FILE`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import jax
import tyro

from experiments.attack import asked_of
from experiments.command import run_command
from experiments.report import write_page
from experiments.victims import Source
from jaxprune import Population, SpecError, attack_search, attacks, device
from jaxprune.attacks import Rule
from jaxprune.budget import PUBLISHED
from jaxprune.report import open_console
from jaxprune.report.page import is_run
from jaxprune.report.watched import watched_table
from jaxprune.run_folder import RunFolder
from jaxprune.spec import check_sparsities
from jaxprune.watching import WatchSpec, check_drawable, chosen, watch


@dataclass(frozen=True)
class Shown(Source):
    """Where the policies that are shown come from."""

    sparsities: str | None = None
    """Columns, at most four: start:stop:step (stop included) or a comma list. Of a run, those of its members;
    an agent is pruned by magnitude, per layer, without training. Default: the lowest and the highest of a
    run; 0,0.9 of an agent."""


class Cast(NamedTuple):
    """Who is shown: members in the order of their columns, their attackers if learned, and how they act."""

    population: Population
    rule: Rule | None = None
    policy: str = "mode"


@dataclass(frozen=True)
class Arguments:
    """Play one episode of members of a seed, without and under attack, from one start, and write a video."""

    spec: tyro.conf.OmitArgPrefixes[WatchSpec]
    victims: tyro.conf.OmitArgPrefixes[Shown]
    attackers: Path | None = None
    """Folder of a finished attack: its victims are shown, in its budget, each under the attacker that was
    chosen for it. Goes without --run, --agent and --eps."""
    out: Path | None = None
    """Video to write, which ends in .avif. Default: watch-ATTACK-seed-SEED.avif in the folder of the run or
    attack, whose report.html is made anew to show it; of an agent, in runs/."""
    device: str = "auto"
    """Where to compute: auto, cpu, gpu or tpu."""


def main(arguments: Arguments) -> None:
    """Play, draw, write the video, and say what is seen in it and where it is."""
    device.select(arguments.device)
    device.keep_compiled()
    shown = _of_victims(arguments) if arguments.attackers is None else _of_attack(arguments)
    check_drawable(shown.population)
    out = _out(arguments, shown.population)
    console = open_console()
    console.print(f"playing and drawing, clean and under {arguments.spec.attack} ...")
    console.print(watched_table(watch(arguments.spec, *shown, out)))
    console.print(f"the video is {out}", soft_wrap=True)
    if is_run(out.parent):
        write_page(console, out.parent)


def _of_victims(arguments: Arguments) -> Cast:
    """Members of a run, or an agent pruned, under an attack that needs no learning."""
    spec, source = arguments.spec, arguments.victims
    attacks.make(spec.attack)  # refused before anything is read
    if source.run is None:
        population = source.load(spec.eps, spec.norm, spec.space, "0,0.9")
        levels = tuple(population.members.sparsity.tolist())
    else:
        population = replace(source, sparsities=None).load(spec.eps, spec.norm, spec.space)
        levels = _levels(source)
    return Cast(population.of(chosen(spec, population, levels)))


def _of_attack(arguments: Arguments) -> Cast:
    """Victims of an attack search, under the attackers that were chosen for them."""
    spec, given, folder = arguments.spec, arguments.victims, arguments.attackers
    assert folder is not None
    for option in ("run", "agent"):
        if getattr(given, option) is not None:
            raise SpecError(f"{option}: the victims are those of {folder}; leave it out")
    if spec.eps != PUBLISHED:
        raise SpecError(f"eps: {folder} has its own budget; leave it out")
    search, source = asked_of(folder)
    RunFolder(folder, "attack.json").table("results")  # only of a search that is finished
    population = source.load(search.eps, search.norm, search.space)
    rows = chosen(spec, population, _levels(given))
    rules = attack_search.found(search, population, folder / "attackers", spec.attack)
    return Cast(population.of(rows), jax.tree.map(lambda leaf: leaf[rows], rules), search.policy)


def _levels(source: Shown) -> tuple[float, ...] | None:
    return None if source.sparsities is None else check_sparsities(source.sparsities)


def _out(arguments: Arguments, population: Population) -> Path:
    """Where the video goes. Raises SpecError where it cannot, or where there is something already."""
    name = f"watch-{arguments.spec.attack}-seed-{population.members.seed[0]}.avif"
    folder, agent = arguments.attackers or arguments.victims.run, arguments.victims.agent
    if folder is None and agent is not None:
        folder, name = Path("runs"), f"{agent.stem}-{name}"
    out = arguments.out or (folder or Path("runs")) / name
    if out.suffix != ".avif":
        raise SpecError(f"out: {out} must end in .avif, which is what the video is")
    if out.exists():
        raise SpecError(f"out: {out} exists; results are never overwritten, name another file")
    if arguments.out is None and agent is not None:
        out.parent.mkdir(exist_ok=True)
    if not out.parent.is_dir():
        raise SpecError(f"out: there is no folder {out.parent}; make it first")
    return out


if __name__ == "__main__":
    run_command(Arguments, main)
