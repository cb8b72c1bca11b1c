"""Tables as the page holds them: those with words as HTML, those of a run as columns of JSON."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

MOST_CHARACTERS = 2_800_000
"""Of all charts, videos and full tables of a page: Plotly takes 4.8 million, and a page stays below 8."""

MOST_OF_VIDEOS = 2_000_000
"""Of these, those that videos may have: 1.5 MB of files."""

FULL = (
    *("results", "regret", "verdicts", "certificates", "layers", "tried", "effort", "transfer", "members"),
    *("audit", "returns", "attacked_returns", "smoothing", "shift_summary", "shift_verdicts", "shifts"),
    *("sampled", "votes", "rungs", "attacked_return_curve"),
)
"""The tables that a reader may want to look through, the first first; curves, states and episodes are not."""


@dataclass(frozen=True)
class Printed:
    """A table of texts. rows: each cell as its lines. words: which columns hold words, no numbers."""

    caption: str
    head: list[list[str]]
    rows: list[list[list[str]]]
    words: list[bool]


def printed(table: Table) -> Printed:
    """A table that the terminal could show as well."""
    columns = [[str(cell).split("\n") for cell in column.cells] for column in table.columns]
    head = [str(column.header).split("\n") for column in table.columns]
    words = [column.justify == "left" for column in table.columns]
    return Printed(str(table.title), head, [list(row) for row in zip(*columns, strict=True)], words)


def columns(table: pl.DataFrame) -> dict[str, Any]:
    """A table as JSON: of every column its name and values, a single one where all are the same."""
    packed = []
    for column in table.iter_columns():
        if column.dtype.is_nested():
            continue
        values = [_plain(value) for value in column.to_list()]
        same = bool(values) and all(value == values[0] for value in values)
        packed.append({"name": column.name, "same" if same else "values": values[0] if same else values})
    return {"rows": table.height, "columns": packed}


def _plain(value: object) -> object:
    """Seven digits of a number, as float32 has them; what JSON has no number for is a word."""
    if isinstance(value, float):
        return float(f"{value:.7g}") if np.isfinite(value) else str(value)
    return value
