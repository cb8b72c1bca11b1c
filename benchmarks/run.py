"""jaxprune beside other programs that do the same, measured in turns: one table, one figure.

    python -m benchmarks.run --peers PYTHON --lirpa PYTHON     # see benchmarks/peers/README.md
    python -m benchmarks.run --part training --peers PYTHON    # one part; the others later
    python -m benchmarks.run --quick                           # a few seconds per row: does everything work?

Every measurement is kept in `rounds.csv` of the run's folder, so a run that is stopped goes on where it was.
The ordinary run writes benchmarks/results/peers.md, .csv, .png and .svg, the quick one into its own folder.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import tyro

from benchmarks.comparison import machine_load, report
from benchmarks.comparison.rounds import Rounds
from benchmarks.comparison.rows import ORDINARY, PARTS, QUICK, ROWS, Prepared, Row, Setting
from benchmarks.comparison.workers import PeerError
from benchmarks.machine import machine_line
from experiments.command import in_one_line
from jaxprune import device
from jaxprune.report.figures import save

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs")


@dataclass(frozen=True)
class Arguments:
    """Which parts are measured, and with which Pythons."""

    peers: Path | None = None
    """The Python of the peers' environment; without it their rows say so."""
    lirpa: Path | None = None
    """The Python of auto_LiRPA's environment."""
    part: Literal["all", "training", "return", "sparsities", "attack", "bounds"] = "all"
    """What to measure; the report is of all that is there."""
    quick: bool = False
    """Two short rounds, into a folder of their own."""
    out: Path | None = None
    """Where the rounds are kept; left out, runs/peers or runs/peers-quick."""


def main(arguments: Arguments) -> None:
    """Measure what is not there yet, and write the report."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a GPU is shared with Brax
    device.keep_compiled()
    folder = arguments.out or RUNS / ("peers-quick" if arguments.quick else "peers")
    size, rounds, missing = QUICK if arguments.quick else ORDINARY, Rounds(folder), {}
    for part in PARTS:
        if arguments.part in ("all", part.name):
            with ExitStack() as opened:
                setting = Setting(size, folder, opened, arguments.peers, arguments.lirpa)
                missing |= measure(part.name, setting, rounds)
    write(rounds, missing, folder if arguments.quick else RESULTS, size.goal)


def measure(part: str, setting: Setting, rounds: Rounds) -> dict[Row, str]:
    """All rows of a part in turns, until each has as many measurements as it should.

    Returns the rows that could not be measured, and why.
    """
    lacking = [row for row in ROWS if row.part == part and left(row, setting, rounds)]
    prepared: dict[Row, Prepared] = {}
    missing: dict[Row, str] = {}
    for row in lacking:
        try:
            prepared[row] = row.prepare(setting)
        except PeerError as error:
            missing[row] = str(error)
            print(f"{row.name}: {error}", flush=True)
    for turn in turns(prepared, setting, rounds):
        others = machine_load.others()
        for row in turn:
            try:
                made = prepared[row].measure(rounds.count(part, row.name))
            except PeerError as error:
                missing[row] = str(error)
                del prepared[row]
                continue
            rounds.add(part, row.name, made, others, prepared[row].versions)
            print(f"{part}: {row.name}: {made}", flush=True)
    return missing


def left(row: Row, setting: Setting, rounds: Rounds) -> int:
    """How many measurements of a row there are still to be made."""
    return max(0, row.wanted(setting.size) - rounds.count(row.part, row.name))


def turns(prepared: dict[Row, Prepared], setting: Setting, rounds: Rounds) -> Iterator[list[Row]]:
    """Round by round the rows that still lack measurements, every other round in the opposite order."""
    forward = True
    while rows := [row for row in prepared if left(row, setting, rounds)]:
        yield rows if forward else rows[::-1]
        forward = not forward


def write(rounds: Rounds, missing: dict[Row, str], folder: Path, goal: float) -> None:
    """The table as Markdown and CSV, and the figure."""
    measured = rounds.table()
    table = report.summary(measured, missing)
    table.write_csv(folder / "peers.csv")
    text = report.markdown(table, measured, machine_line("python -m benchmarks.run"), goal)
    (folder / "peers.md").write_text(text)
    if measured.height:
        device_kind = jax.devices()[0].device_kind
        save(report.figure(measured, f"Hopper, {os.cpu_count()} cores, {device_kind}"), folder / "peers.png")
    print(text)


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
