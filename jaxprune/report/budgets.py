"""The budgets in a table, and what a reader calls them."""

import polars as pl

from jaxprune.analysis import BUDGET


def budgets(table: pl.DataFrame) -> dict[str, pl.Expr]:
    """Each budget of `table`, by space, norm and eps: its name, and the condition that its rows fulfil."""
    rows = table.select(BUDGET).unique().sort("space", "norm", "eps")
    return {
        f"eps = {row['eps']:g} ({row['norm']} norm, {row['space']} observations)": pl.all_horizontal(
            pl.col(column) == row[column] for column in BUDGET
        )
        for row in rows.iter_rows(named=True)
    }
