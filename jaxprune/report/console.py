"""What the terminal shows before and during a sweep: the plan, and the progress."""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from io import StringIO, TextIOWrapper
from math import isfinite
from time import monotonic

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from jaxprune.progress import Update
from jaxprune.report.numbers import number

WIDTH = 100  # columns that every table of this room fits into

SparsityReturn = tuple[float, float, int]
"""Sparsity, mean return over seeds (NaN before an episode has finished), number of episodes finished."""


class _Unheeded(Console):
    """A console whose reader may go: what is printed then goes nowhere, and stops no work."""

    def on_broken_pipe(self) -> None:
        """Print no more; Python itself has nothing left to say at its end either."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def open_console(file: TextIOWrapper | StringIO | None = None) -> Console:
    """A console on `file` (standard output). Where nobody is watching it is as wide as the tables."""
    console = _Unheeded(file=file, highlight=False, markup=False)  # names of folders hold brackets
    if not console.is_terminal:
        console.width = WIDTH
    return console


def plan(lines: Mapping[str, str]) -> Panel:
    """What is about to be done: one line for each name and its setting."""
    table = Table.grid(padding=(0, 2))
    for name, setting in lines.items():
        table.add_row(Text(name, style="bold"), Text(setting))
    return Panel(table, title="plan", title_align="left", expand=False)


def plain_table(title: str, *columns: str) -> Table:
    """An empty table with no frame, as all tables at the end of a command."""
    return Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


class LiveProgress:
    """Progress of a sweep while the context is open.

    A terminal shows one display that is redrawn: phase, bar, environment steps per second, time elapsed and
    left, and the returns at each sparsity. Anything else (a pipe, a CI log) gets one flushed line of plain
    text per update.

        with LiveProgress(console, total_steps) as live:
            live.show(Update("train", steps_done, steps_per_second, rows=((0.0, 812.5, 40),)))
    """

    def __init__(self, console: Console, total_steps: int) -> None:
        if total_steps < 1:
            raise ValueError(f"total_steps={total_steps}: must be at least 1")
        self._console = console
        self._total_steps = total_steps
        self._started = monotonic()
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._progress.add_task("starting", total=total_steps, speed="", left="")
        redraws = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(self._progress, console=console) if redraws else None

    def __enter__(self) -> "LiveProgress":
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, update: Update) -> None:
        """Show where the job stands."""
        phase = f"{update.phase}, {update.note}" if update.note else update.phase
        steps_done, steps_per_second, rows = update.steps_done, update.steps_per_second, update.rows
        speed = f"{number(steps_per_second)} steps/s" if steps_per_second > 0 else ""
        left = (
            f"{_duration((self._total_steps - steps_done) / steps_per_second)} left at this speed"
            if steps_per_second > 0
            else ""
        )
        if self._live is None:
            self._write_line(phase, steps_done, speed, left, rows)
            return
        self._progress.update(self._task, description=phase, completed=steps_done, speed=speed, left=left)
        self._live.update(
            Group(self._progress, _returns_table(rows)) if rows else self._progress, refresh=True
        )

    def _write_line(
        self, phase: str, steps_done: int, speed: str, left: str, rows: Sequence[SparsityReturn]
    ) -> None:
        share = f"{steps_done / self._total_steps:.0%} of {number(float(self._total_steps))} steps"
        elapsed = f"{_duration(monotonic() - self._started)} elapsed"
        returns = " ".join(f"{sparsity:.2f}:{_return_text(mean)}" for sparsity, mean, _ in rows)
        parts = [phase, share, speed, elapsed, left, f"return {returns}" if rows else ""]
        try:
            self._console.file.write(", ".join(part for part in parts if part) + "\n")
            self._console.file.flush()
        except BrokenPipeError:
            self._console.on_broken_pipe()


def _returns_table(rows: Sequence[SparsityReturn]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("sparsity", "return", "episodes"):
        table.add_column(name, justify="right", header_style="dim")
    for sparsity, mean, episodes in rows:
        table.add_row(f"{sparsity:.2f}", _return_text(mean), f"{episodes}")
    return table


def _return_text(mean: float) -> str:
    return number(mean) if isfinite(mean) else "-"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(max(seconds, 0.0))))
