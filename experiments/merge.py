"""Put finished sweeps of different seeds together: `python -m experiments.merge RUN RUN ... --out FOLDER`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.command import run_command
from experiments.sweep import report_sweep
from jaxprune import device
from jaxprune.merging import merge
from jaxprune.report import open_console


@dataclass(frozen=True)
class Arguments:
    """Put finished sweeps that differ in their seeds only together into one run with all the seeds."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of the runs, two or more; one of them may be an earlier merge."""
    out: Path
    """New folder for tables, figures and population."""
    planned_seeds: int | None = None
    """Seeds that the whole experiment will have. Given at the first merge, the verdicts of all merges of the
    plan share one error: a merge of n seeds, the one before having been of m, is given (n - m) / N of it."""


def main(arguments: Arguments) -> None:
    """Merge, print the result and where the files are."""
    device.select("cpu")
    made = merge(arguments.runs, arguments.out, arguments.planned_seeds)
    console = open_console()
    console.print(
        f"{len(made.spec.seed_numbers)} seeds ({made.spec.seeds}) of {len(arguments.runs)} runs; all the "
        f"verdicts below together have an error of {made.spec.error:.2%}"
    )
    report_sweep(made, arguments.out)


if __name__ == "__main__":
    run_command(Arguments, main)
