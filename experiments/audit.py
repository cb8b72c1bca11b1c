"""All there is for one policy, without training: `python -m experiments.audit --agent FILE --env TASK`."""

import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from experiments.command import refuse_changes, run_command, telling
from experiments.report import write_page
from experiments.victims import Source, check_has_dense
from jaxprune import AuditSpec, Population, SpecError, audit, device, speeds
from jaxprune.audit import Asked
from jaxprune.interrupt import exit_code
from jaxprune.plan import available_cores
from jaxprune.report import LiveProgress, Words, joined, open_console, plan, policy_words, search_alarms
from jaxprune.run_folder import FORMAT, RunFolder, provenance

ABOUT = "audit.json"
"""In the folder of an audit: what was asked."""

SHARE_OF_PHYSICS, COMPILE_SECONDS = 0.5, 60.0
"""Speed of an audit over that of its physics alone, bounds and attacks included, and what compiling takes
before anything is in the cache, as seen on HalfCheetah."""


@dataclass(frozen=True)
class OnePolicy(Source):
    """Where the policy comes from: a file, or a member of a run."""

    run: Path | None = None
    """Refused, for a run has many policies: give --agent RUN --member NUMBER."""


@dataclass(frozen=True)
class Arguments:
    """Prune one policy at several levels, certify it, attack it, and say on one page what came out."""

    victims: tyro.conf.OmitArgPrefixes[OnePolicy]
    audit: tyro.conf.OmitArgPrefixes[AuditSpec]
    out: Path | None = None
    """New folder for the tables and the page. Default: runs/audit-AGENT-TIME."""
    resume: Path | None = None
    """Go on with the interrupted audit in this folder; needs no other flag."""
    device: str = "auto"
    """Where to compute: auto, cpu, gpu or tpu."""


def main(arguments: Arguments) -> None:
    """Print the plan, certify and attack with live progress, print the verdict and where the page is."""
    device.select(arguments.device)
    device.keep_compiled()
    resumed = arguments.resume
    if resumed is not None:
        arguments = _interrupted(arguments, resumed)
    spec, population = arguments.audit, _population(arguments)
    asked = spec.of(population)
    if resumed is not None:
        audit.check_resumable(resumed, spec, population)
    console = open_console()
    folder = _new_folder(arguments, population, asked) if resumed is None else RunFolder(resumed)
    try:
        console.print(plan(_plan(spec, asked, population)))
        with LiveProgress(console, asked.steps(population)) as live:
            tables = audit.run(spec, population, live.show, folder.path)
        for name, table in tables.items():
            folder.write_table(name, table)
        # All tables are there, and nothing is left to go on from.
        shutil.rmtree(folder.path / audit.STAGES)
    except KeyboardInterrupt as stopped:
        resume = f"python -m experiments.audit --resume {shlex.quote(str(folder.path))}"
        console.print(f"\nstopped; go on with: {resume}", soft_wrap=True)
        sys.exit(exit_code(stopped))
    with telling(folder.path):
        words = policy_words(
            results=tables["results"],
            members=tables["members"],
            certificates=tables["certificates"],
            attacked_returns=tables.get("attacked_returns"),
        )
        search = None if spec.search == audit.OFF else spec.search
        alarms = search_alarms(tables["results"], tables.get("effort"), search)
        joined([Words(alarms), words]).print(console)
        console.print(f"tables, as .csv and .parquet, are in {folder.path}", soft_wrap=True)
        write_page(console, folder.path)


def _population(arguments: Arguments) -> Population:
    """The policy at every sparsity. Raises SpecError for more than one policy, or without the dense one."""
    spec, source = arguments.audit, arguments.victims
    if source.run is not None:
        raise SpecError(
            "run: an audit is of one policy; give --agent RUN --member NUMBER, or certify and attack the run"
        )
    population = source.load(spec.eps, spec.norm, spec.space, "0:0.9:0.1")
    check_has_dense(population)
    return population


def _new_folder(arguments: Arguments, population: Population, asked: Asked) -> RunFolder:
    """A folder that knows all that is needed to go on with this audit, the physics included."""
    folder = arguments.victims.new_folder(arguments.out, "audit")
    content = {
        "audit": arguments.audit.to_dict(),
        "resolved": {"eps": population.budget.eps},
        "population": population.to_dict(),
        "victims": replace(arguments.victims, physics=population.env.physics).to_dict(),
        # As the commands of the parts write it down.
        "certification": asked.certification.to_dict(),
        "returned": vars(asked.returned),
        **({} if arguments.audit.search == audit.OFF else {"search": asked.attack.to_dict()}),
    }
    folder.write_json(ABOUT, {"format": FORMAT, **content, **provenance()})
    return folder


def _interrupted(arguments: Arguments, path: Path) -> Arguments:
    """What the audit in the folder `path` was asked to do.

    Raises SpecError if the folder does not say, if there is nothing left to do, if this program would not go
    on with it as it was begun, or if the command line asks for something else.
    """
    folder = RunFolder(path, ABOUT)
    asked = folder.continuable()
    if folder.has_table("results") and not (path / audit.STAGES).is_dir():
        raise SpecError(f"resume: {path} is finished; its tables are there")
    try:
        spec, victims = AuditSpec(**asked["audit"]), OnePolicy.from_dict(asked["victims"])
    except (AttributeError, KeyError, TypeError) as error:
        raise SpecError(f"resume: {path / ABOUT} cannot be read ({error})") from None
    refuse_changes(arguments.audit, spec, path)
    refuse_changes(arguments.victims, victims, path)
    return Arguments(victims, spec, resume=path)


def _plan(spec: AuditSpec, asked: Asked, population: Population) -> dict[str, str]:
    attack, returned = asked.attack, asked.returned
    sparsities = ", ".join(f"{value:g}" for value in population.members.sparsity.tolist())
    attackers = ", ".join(f"{attack.attackers(name)} {name}" for name in attack.attacks)
    certified = "none, for it draws no actions" if spec.return_episodes else "none"
    if returned.return_episodes:
        certified = returned.in_words()
    return {
        "task": population.env.in_words(),
        "policy": f"pruned by magnitude to {sparsities}, not trained again",
        "budget": population.budget.in_words(),
        "bounds": f"CROWN and those of the weights alone, at {spec.states} states",
        "certified returns": certified,
        "attackers": attackers,
        "episodes": f"{attack.selection_episodes} to select, {spec.episodes} fresh",
        "work": f"at most {asked.steps(population):,} steps, {_time(asked, population)}",
    }


def _time(asked: Asked, population: Population) -> str:
    """How long they take, by the speed of the physics here, where that can be measured in a moment."""
    if population.env.physics not in speeds.MEASURED_PHYSICS:
        return "for how long is not known before the first"
    each = speeds.physics_seconds(population.env, population.members.size * asked.attack.episodes)
    physics = available_cores() / each
    seconds = COMPILE_SECONDS + asked.steps(population) / (SHARE_OF_PHYSICS * physics)
    return f"about {seconds / 60:.1f} min"


if __name__ == "__main__":
    run_command(Arguments, main)
