"""Tables as the page holds them: those with words as HTML, those of a run as columns of JSON."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

MOST_ROWS = 300
"""Of a table with words; the CSV files hold them all."""

_SAMPLE = 200
"""Rows by which the size of a table is estimated."""

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
    rows = [list(row) for row in zip(*columns, strict=True)]
    first = f" (the first {MOST_ROWS} of {len(rows)} rows)" if len(rows) > MOST_ROWS else ""
    return Printed(f"{table.title}{first}", head, rows[:MOST_ROWS], words)


def that_fit(tables: dict[str, pl.DataFrame], most: int) -> dict[str, dict[str, Any]]:
    """The tables as JSON, together of at most so many characters: of those too long, the first rows.

    Small tables are whole; the others share what is left alike.
    """
    sizes = {name: _size(table) for name, table in tables.items()}
    packed, left = {}, most
    for place, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        held = _first_rows(tables[name], left // (len(sizes) - place))
        if held is not None:
            packed[name] = held
            left -= len(json.dumps(held))
    return {name: packed[name] for name in tables if name in packed}


def _first_rows(table: pl.DataFrame, most: int) -> dict[str, Any] | None:
    """As many rows as fit; None where not one does."""
    rows = table.height if _size(table) <= most else table.height * most // _size(table)
    while rows or not table.height:
        packed = columns(table.head(rows))
        size = len(json.dumps(packed))
        if size <= most:
            return packed
        rows = min(rows - 1, int(0.9 * rows * most / size))
    return None


def _size(table: pl.DataFrame) -> int:
    """About how many characters the table has as JSON."""
    sample = table.gather_every(max(1, table.height // _SAMPLE))
    return len(json.dumps(columns(sample))) * max(1, table.height) // max(1, sample.height)


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
