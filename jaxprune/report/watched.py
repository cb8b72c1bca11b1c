"""What a video shows, as a table for the terminal."""

import polars as pl
from rich.table import Table

from jaxprune.report.console import plain_table
from jaxprune.report.numbers import number


def watched_table(watched: pl.DataFrame) -> Table:
    """What each policy earned, in how many steps, to what end; of the table that `watching.watch` makes."""
    table = plain_table("One episode", "sparsity", "attack", "return", "steps", "ended")
    for name in ("sparsity", "return", "steps"):
        next(column for column in table.columns if column.header == name).justify = "right"
    for row in watched.iter_rows(named=True):
        table.add_row(
            f"{row['sparsity_asked']:.2f}",
            row["attack"],
            number(row["return"]),
            str(row["steps"]),
            row["ended"],
        )
    return table
