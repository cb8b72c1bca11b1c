"""Measure agents under shifted dynamics: `python -m experiments.shift --run FOLDER`, or `--agent FILE`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.by_arm import draw_shifts
from experiments.command import run_command
from experiments.report import write_page
from experiments.victims import Source
from jaxprune import Population, ShiftSpec, chunks, device, shift_evaluation
from jaxprune.report import LiveProgress, open_console, plan, shift_screen_words
from jaxprune.run_folder import FORMAT, provenance


@dataclass(frozen=True)
class Arguments:
    """Play clean episodes of every member of a run, or one agent, with a body that is heavier, weaker, ..."""

    victims: tyro.conf.OmitArgPrefixes[Source]
    shifts: tyro.conf.OmitArgPrefixes[ShiftSpec]
    out: Path | None = None
    """New folder for tables and figure. Default: RUN/shifts-TIME, or runs/shifts-AGENT-TIME."""
    chunk: int | None = None
    """How many members play side by side at most, which changes no result and needs less memory. Default: all
    of them."""
    device: str = "auto"
    """Where to compute: auto, cpu, gpu or tpu."""


def main(arguments: Arguments) -> None:
    """Print the plan, play with live progress, print the returns and where the tables are."""
    device.select(arguments.device)
    device.keep_compiled()
    spec, population = arguments.shifts, _population(arguments)
    chunks.check(arguments.chunk, population.members.size)
    console = open_console()
    folder = arguments.victims.new_folder(arguments.out, "shifts")
    steps = shift_evaluation.total_steps(spec, population.env, population.members.size)
    console.print(plan(_plan(spec, population, steps)))
    try:
        with LiveProgress(console, steps) as live:
            found = shift_evaluation.run(spec, population, live.show, arguments.chunk)
    except KeyboardInterrupt:
        folder.path.rmdir()  # it is still empty
        raise
    folder.write_json(
        "shift.json",
        {
            "format": FORMAT,
            "shifts": spec.to_dict(),
            "population": population.to_dict(),
            "victims": arguments.victims.to_dict(),
            **provenance(),
        },
    )
    for name, table in found.tables().items():
        folder.write_table(name, table)
    draw_shifts(folder.path, found)
    shift_screen_words(*found, alpha=population.error).print(console)
    console.print(f"tables and figure are in {folder.path}", soft_wrap=True)
    write_page(console, folder.path)


def _population(arguments: Arguments) -> Population:
    """The members to measure; nobody attacks them. Raises SpecError for whatever cannot be shifted."""
    population = arguments.victims.load(0.0, "linf", "normalised")
    population.env.check_shiftable()
    return population


def _plan(spec: ShiftSpec, population: Population, steps: int) -> dict[str, str]:
    sparsities = dict.fromkeys(population.members.sparsity.tolist())
    factors = dict.fromkeys(factor for _, factor in spec.grid[1:])
    return {
        "task": population.env.in_words(),
        "members": f"{population.members.size}: sparsities {', '.join(f'{s:g}' for s in sparsities)}",
        "shifts": f"{', '.join(spec.parameters)}, each by {', '.join(f'{f:g}' for f in factors)}",
        "draws": f"{spec.draws} of all of them, log-uniform",
        "episodes": f"{spec.episodes} clean ones per member at each of {spec.count} points",
        "steps": f"at most {steps:,} in all",
    }


if __name__ == "__main__":
    run_command(Arguments, main)
