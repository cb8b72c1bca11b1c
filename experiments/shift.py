"""Measure agents under shifted dynamics: `python -m experiments.shift --run FOLDER`, or `--agent FILE`."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import tyro

from experiments.by_arm import ending
from experiments.command import run_command
from experiments.victims import Source
from jaxprune import Population, ShiftSpec, SpecError, device, shift_evaluation
from jaxprune.analysis import shift_verdicts
from jaxprune.report import LiveProgress, figures, open_console, plan, print_shifts, shifts_figure
from jaxprune.run_folder import provenance


@dataclass(frozen=True)
class Arguments:
    """Play clean episodes of every member of a run, or one agent, with a body that is heavier, weaker, ..."""

    victims: tyro.conf.OmitArgPrefixes[Source]
    shifts: tyro.conf.OmitArgPrefixes[ShiftSpec]
    sparsities: str | None = None
    """Sparsities at which --agent is pruned by magnitude, per layer, without training (default 0):
    start:stop:step (stop included) or a comma list. The members of a run have theirs."""
    out: Path | None = None
    """New folder for tables and figure. Default: RUN/shifts-TIME, or runs/shifts-AGENT-TIME."""
    device: str = "auto"
    """Where to compute: auto, cpu, gpu or tpu."""


def main(arguments: Arguments) -> None:
    """Print the plan, play with live progress, print the returns and where the tables are."""
    device.select(arguments.device)
    device.keep_compiled()
    spec, population = arguments.shifts, _population(arguments)
    console = open_console()
    folder = arguments.victims.new_folder(arguments.out, "shifts")
    steps = shift_evaluation.total_steps(spec, population.env, population.members.size)
    console.print(plan(_plan(spec, population, steps)))
    try:
        with LiveProgress(console, steps) as live:
            found = shift_evaluation.run(spec, population, live.show)
    except KeyboardInterrupt:
        folder.path.rmdir()  # it is still empty
        raise
    folder.write_json(
        "shift.json",
        {
            "shifts": spec.to_dict(),
            "population": population.to_dict(),
            "victims": arguments.victims.to_dict(),
            **provenance(),
        },
    )
    folder.write_table("shifts", found.shifts)
    folder.write_table("summary", found.summary)
    verdicts = shift_verdicts(found.summary)
    folder.write_table("verdicts", verdicts)
    arms = found.summary["arm"].unique(maintain_order=True).to_list()
    for arm in arms:
        shifts, summary, judged = (
            table.filter(pl.col("arm") == arm) for table in (found.shifts, found.summary, verdicts)
        )
        if not summary["diverged"].all():
            title = f"{population.env.task} on {population.env.physics}, deterministic policies"
            file = f"shifts{ending(arm, arms)}.png"
            figures.save(shifts_figure(shifts, title), folder.path / file)
        if len(arms) > 1:
            console.rule(f"arm {arm}")
        print_shifts(console, shifts, summary, judged)
    console.print(f"tables and figure are in {folder.path}", soft_wrap=True)


def _population(arguments: Arguments) -> Population:
    """The members to measure; nobody attacks them. Raises SpecError for whatever cannot be shifted."""
    source = arguments.victims
    if source.run is not None and arguments.sparsities is not None:
        raise SpecError("sparsities: the members of a run have theirs; leave it out, or give --agent FILE")
    population = source.load(0.0, "linf", "normalised", arguments.sparsities)
    population.env.check_shiftable()
    return population


def _plan(spec: ShiftSpec, population: Population, steps: int) -> dict[str, str]:
    sparsities = dict.fromkeys(population.members.sparsity.tolist())
    factors = dict.fromkeys(factor for _, factor in spec.grid[1:])
    return {
        "task": f"{population.env.task}, physics {population.env.physics}",
        "members": f"{population.members.size}: sparsities {', '.join(f'{s:g}' for s in sparsities)}",
        "shifts": f"{', '.join(spec.parameters)}, each by {', '.join(f'{f:g}' for f in factors)}",
        "draws": f"{spec.draws} of all of them, log-uniform",
        "episodes": f"{spec.episodes} clean ones per member at each of {spec.count} points",
        "steps": f"at most {steps:,} in all",
    }


if __name__ == "__main__":
    run_command(Arguments, main)
