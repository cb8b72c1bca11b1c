"""Certify agents, pruned and dense: `python -m experiments.certify --run FOLDER`, or with `--agent FILE`."""

import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro
from rich.console import Console

from experiments.by_arm import draw_bounds, draw_returned
from experiments.command import refuse_changes, run_command, telling
from experiments.report import write_page
from experiments.victims import Source, check_has_dense
from jaxprune import (
    CertificationSpec,
    Population,
    SmoothingSpec,
    SpecError,
    certification,
    chunks,
    device,
    footprint,
)
from jaxprune.certification import Certification, ReturnSpec
from jaxprune.interrupt import exit_code
from jaxprune.progress import Update
from jaxprune.report import certify_screen_words, open_console, plan
from jaxprune.run_folder import FORMAT, RunFolder, provenance

ABOUT, STAGES = "certify.json", "stages"
"""In the folder of a certification: what was asked, and what is done of it as long as it is not finished."""


@dataclass(frozen=True)
class Arguments:
    """Bound, at the same states, how far every member of a run, or one agent pruned, can be moved."""

    victims: tyro.conf.OmitArgPrefixes[Source]
    certification: tyro.conf.OmitArgPrefixes[CertificationSpec]
    smoothing: tyro.conf.OmitArgPrefixes[SmoothingSpec]
    returned: tyro.conf.OmitArgPrefixes[ReturnSpec]
    out: Path | None = None
    """New folder for tables and figure. Default: RUN/certificates-TIME, or runs/certificates-AGENT-TIME."""
    resume: Path | None = None
    """Go on with the interrupted certification in this folder; needs no other flag."""
    chunk: int | None = None
    """How many members play side by side at most, which changes no result and needs less memory. Default: as
    many as fit."""
    device: str = "auto"
    """Where to compute: auto, cpu, gpu or tpu."""


def main(arguments: Arguments) -> None:
    """Print the plan, certify, print the verdicts and where the tables are."""
    device.select(arguments.device)
    device.keep_compiled()
    resumed = arguments.resume
    if resumed is not None:
        arguments = _interrupted(arguments, resumed)
    spec, smoothing, returned = arguments.certification, arguments.smoothing, arguments.returned
    population = _population(arguments)
    chunks.check(arguments.chunk, population.members.size)
    chunk = arguments.chunk or _as_many_as_fit(arguments, population)
    smoothing.check_fits(spec.confidence, population)
    returned.check(spec.confidence, population, spec.policy)
    if resumed is not None:
        certification.check_resumable(resumed / STAGES, spec, smoothing, population, returned)
    console = open_console()
    folder = _new_folder(arguments, population) if resumed is None else RunFolder(resumed)
    console.print(plan(_plan(spec, smoothing, returned, population) | _in_turns(chunk)))
    try:
        told = _Phases(console).tell
        found = certification.run(spec, smoothing, population, told, folder.path / STAGES, returned, chunk)
        _write(folder, found, population)
    except KeyboardInterrupt as stopped:
        resume = f"python -m experiments.certify --resume {shlex.quote(str(folder.path))}"
        console.print(f"\nstopped; go on with: {resume}", soft_wrap=True)
        sys.exit(exit_code(stopped))
    with telling(folder.path):
        words = certify_screen_words(
            states=found.states,
            members=found.members,
            above=found.audit,
            certificates=found.certificates,
            returns=found.returns,
            smoothing=found.smoothing,
            attacked_returns=found.attacked_returns,
            post_hoc=population.pruned_post_hoc,
        )
        words.print(console)
        console.print(f"tables and figure are in {folder.path}", soft_wrap=True)
        write_page(console, folder.path)


def _write(folder: RunFolder, found: Certification, population: Population) -> None:
    """The tables and the figure. When all are there, nothing is left to go on from, and the stages go."""
    for name, table in found._asdict().items():
        if table is not None:
            folder.write_table(name, table)
    where = f"{population.env.task} on {population.env.physics}"
    draw_bounds(folder.path, found.members, where)
    if found.attacked_returns is not None:
        draw_returned(folder.path, found.attacked_returns, where)
    shutil.rmtree(folder.path / STAGES)


def _new_folder(arguments: Arguments, population: Population) -> RunFolder:
    """A folder that knows all that is needed to go on with this certification, the physics included."""
    folder = arguments.victims.new_folder(arguments.out, "certificates")
    asked = {
        "certification": arguments.certification.to_dict(),
        "smoothing": vars(arguments.smoothing),
        "returned": vars(arguments.returned),
        "population": population.to_dict(),
        "victims": replace(arguments.victims, physics=population.env.physics).to_dict(),
    }
    folder.write_json(ABOUT, {"format": FORMAT, **asked, **provenance()})
    return folder


def _interrupted(arguments: Arguments, path: Path) -> Arguments:
    """What the certification in the folder `path` was asked to do.

    Raises SpecError if the folder does not say, if there is nothing left to do, if this program would not go
    on with it as it was begun, or if the command line asks for something else.
    """
    asked = RunFolder(path, ABOUT).continuable()
    if (path / "states.parquet").is_file() and not (path / STAGES).is_dir():
        raise SpecError(f"resume: {path} is finished; its tables are there")
    try:
        spec = CertificationSpec.from_dict(asked["certification"])
        smoothing, victims = SmoothingSpec(**asked["smoothing"]), Source.from_dict(asked["victims"])
        returned = ReturnSpec(**asked["returned"])
    except (AttributeError, KeyError, TypeError) as error:
        raise SpecError(f"resume: {path / ABOUT} cannot be read ({error})") from None
    refuse_changes(arguments.certification, spec, path)
    refuse_changes(arguments.smoothing, smoothing, path)
    refuse_changes(arguments.returned, returned, path)
    refuse_changes(arguments.victims, victims, path)
    return Arguments(victims, spec, smoothing, returned, resume=path, chunk=arguments.chunk)


class _Phases:
    """Prints one line at the beginning of every phase."""

    def __init__(self, console: Console) -> None:
        self._console, self._phase = console, ""

    def tell(self, update: Update) -> None:
        if update.phase != self._phase:
            self._console.print(f"{update.phase} ...")
            self._phase = update.phase


def _population(arguments: Arguments) -> Population:
    """The members to certify. Raises SpecError for whatever cannot be certified."""
    spec, source = arguments.certification, arguments.victims
    population = source.load(spec.eps, spec.norm, spec.space, "0:0.9:0.1")
    check_has_dense(population)
    return spec.applied_to(population)


def _as_many_as_fit(arguments: Arguments, population: Population) -> int | None:
    """How many members play side by side, so that what they need is there; None: all of them."""
    most = device.memory()
    if most is None:
        return None
    env, returned, size = population.env, arguments.returned, population.members.size
    visits = footprint.of_visits(env, arguments.certification.episodes)
    playing = footprint.of_episodes(env, arguments.certification.episodes)
    certified = footprint.of_returned(env, returned) if returned.return_episodes else 0
    there = footprint.BASE_BYTES + footprint.of_arrays(population.agents) + size * visits
    # What is visited by those side by side is there once more, until it stands with that of all.
    return footprint.side_by_side(size, visits + max(playing, certified), most - there)


def _in_turns(chunk: int | None) -> dict[str, str]:
    """The row of the plan about members that take turns, where they do."""
    return {} if chunk is None else {"side by side": f"{chunk} members at most"}


def _plan(
    spec: CertificationSpec, smoothing: SmoothingSpec, returned: ReturnSpec, population: Population
) -> dict[str, str]:
    sparsities = dict.fromkeys(population.members.sparsity.tolist())
    bounds = ", ".join(bound.in_words() for bound in spec.local.values())
    lines = {
        "task": population.env.in_words(),
        "members": f"{population.members.size}: sparsities {', '.join(f'{s:g}' for s in sparsities)}",
        "budget": population.budget.in_words(),
        "bounds": f"{bounds} at {spec.states} states",
        "attack": f"MAD, {spec.starts} starts of {spec.search_steps} steps at each state",
        "episodes": f"{spec.episodes} clean ones per member, {spec.policy} policy",
    }
    if smoothing.smoothing_sigma is not None:
        votes = f", {smoothing.smoothing_votes} votes per state" if population.agents.discrete else ""
        lines["smoothing"] = (
            f"sigma {smoothing.smoothing_sigma:g}, total l2 budget {smoothing.smoothing_budget:g} per "
            f"episode, {smoothing.smoothing_episodes} episodes per member{votes}"
        )
    if returned.return_episodes:
        lines["certified returns"] = returned.in_words()
    return lines


if __name__ == "__main__":
    run_command(Arguments, main)
