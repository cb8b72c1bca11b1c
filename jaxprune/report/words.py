"""What a report of tables consists of, wherever it is shown: in the terminal or on the page."""

from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxprune.report.console import WIDTH


class Words(NamedTuple):
    """alarms: what must be known first. tables: numbers. lines: what they say."""

    alarms: list[str] = []  # noqa: RUF012  nobody adds to it
    tables: list[Table] = []  # noqa: RUF012
    lines: list[str] = []  # noqa: RUF012

    def print(self, console: Console) -> None:
        """Alarms in bold, the tables, and the sentences as a list."""
        for line in self.alarms:
            console.print("", Text(line, style="bold"), sep="\n", width=WIDTH)
        for table in self.tables:
            console.print("", table, width=WIDTH)
        if self.lines:
            bullets = Table.grid(padding=(0, 1))
            for line in self.lines:
                bullets.add_row("-", Text(line))
            console.print("", bullets, width=WIDTH)
