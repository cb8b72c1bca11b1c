"""What becomes of members whose training left the finite numbers: out of every mean, with their pairs."""

import polars as pl

from jaxprune.analysis.tables import FAMILY


def without_diverged(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of members that stayed finite, and whose dense twin did.

    The twin is the member of the same seed (and family, where the table has its columns) at sparsity 0.
    """
    twin = [name for name in (*FAMILY, "seed") if name in table.columns]
    lost = table.filter(pl.col("diverged"), pl.col("sparsity_asked") == 0).select(twin).unique()
    kept = table.filter(~pl.col("diverged"))
    return kept.join(lost, on=twin, how="anti", maintain_order="left")
