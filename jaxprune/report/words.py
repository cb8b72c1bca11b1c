"""What a report of tables consists of, wherever it is shown: on one screen of the terminal, on the page."""

from collections.abc import Iterable
from itertools import accumulate, chain
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.segment import Segment, SegmentLines
from rich.table import Table
from rich.text import Text

from jaxprune.report.console import WIDTH

Lines = list[list[Segment]]

SCREEN, ALARMS, SENTENCES = 22, 4, 6
"""Lines of a screen without those that say where the files are, at most for alarms, and for sentences where
the tables need the rest."""


class Words(NamedTuple):
    """alarms: what must be known first. tables: numbers. lines: what they say."""

    alarms: list[str] = []  # noqa: RUF012  nobody adds to it
    tables: list[Table] = []  # noqa: RUF012
    lines: list[str] = []  # noqa: RUF012

    def print(self, console: Console) -> None:
        """On one screen: alarms in bold, the sentences as a list, the tables, and how much did not fit.

        What did not fit is in the page of the run.
        """
        alarms = [_rendered(console, Text(line, style="bold")) for line in self.alarms]
        sentences = [_rendered(console, _bullet(line)) for line in self.lines]
        table = [row for one in self.tables for row in [[], *_rendered(console, one)]]
        warned = _fitting(alarms, ALARMS)
        below = SCREEN - _lines(warned)
        said = _fitting(sentences, max(SENTENCES, below - len(table)))
        room = max(below - _lines(said), 0)
        console.print(SegmentLines([*chain(*warned, *said), *table[:room]], new_lines=True), end="")
        more = {
            "warning": len(alarms) - len(warned),
            "sentence": len(sentences) - len(said),
            "table line": len(table) - room,
        }
        told = (f"{count} more {what}{'s' * (count > 1)}" for what, count in more.items() if count > 0)
        if left := ", ".join(told):
            console.print(f"(in the report: {left})", width=WIDTH)


def _rendered(console: Console, part: RenderableType) -> Lines:
    width = min(WIDTH, console.width)
    return console.render_lines(part, console.options.update(width=width, height=None), pad=False)


def _bullet(line: str) -> Table:
    bullet = Table.grid(padding=(0, 1))
    bullet.add_row("-", Text(line))
    return bullet


def _lines(parts: list[Lines]) -> int:
    return sum(map(len, parts))


def _fitting(parts: list[Lines], most: int) -> list[Lines]:
    """The first parts that together have at most so many lines; the first of them in any case."""
    ends = accumulate(map(len, parts))
    return [
        part for place, (part, end) in enumerate(zip(parts, ends, strict=True)) if not place or end <= most
    ]


def joined(parts: Iterable[Words]) -> Words:
    """What several reports say, as one."""
    return Words(*(list(chain(*kind)) for kind in zip(*parts, strict=True)))
