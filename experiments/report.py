"""Make the page of one run or several anew: `python -m experiments.report RUN [RUN ...]`."""

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from experiments.command import run_command
from jaxprune import SpecError
from jaxprune.report import open_console
from jaxprune.report.page import NAME, write_report


@dataclass(frozen=True)
class Arguments:
    """Write the page of one run, or of several beside each other, from the tables in their folders."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of a sweep, attack, certification, shift or merge, finished or not."""
    out: Path | None = None
    """File to write, which ends in .html. Default: report.html in the folder of the one run; several runs
    have none."""


def main(arguments: Arguments) -> None:
    """Write the page and print where it is."""
    if not arguments.runs:
        raise SpecError("runs: name at least one folder of a run")
    if arguments.out is None and len(arguments.runs) > 1:
        raise SpecError("out: several runs share no folder; give --out FILE.html")
    if arguments.out is not None and arguments.out.suffix != ".html":
        raise SpecError(f"out: {arguments.out} must end in .html, so that no table is overwritten")
    path = write_report(arguments.runs, arguments.out)
    open_console().print(f"the report is {path}", soft_wrap=True)


def write_page(console: Console, folder: Path) -> None:
    """Write the page of the run in `folder`, as every command does at its end, and say where it is."""
    write_report([folder])
    console.print(f"the report is {folder / NAME}", soft_wrap=True)


if __name__ == "__main__":
    run_command(Arguments, main)
