"""The lines of figures and charts: means over seeds against sparsity, and training curves."""

import polars as pl

from jaxprune.analysis import DEFAULT_INTERVAL, Student, across_seeds


def by_sparsity(rows: pl.DataFrame, column: str, interval: Student = DEFAULT_INTERVAL) -> pl.DataFrame:
    """`column` over seeds, one row per sparsity asked, from the lowest `sparsity` achieved (its mean) up."""
    achieved = rows.group_by("sparsity_asked").agg(pl.col("sparsity").mean())
    estimates = across_seeds(rows, ["sparsity_asked"], column, interval)
    return estimates.join(achieved, on="sparsity_asked").sort("sparsity")


def smoothed(curves: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Returns as running means over a twentieth of the iterations, since an iteration ends few episodes.

    Also how many iterations that are.
    """
    window = max(1, curves.select(pl.max("iteration")).item() // 20)
    running = pl.col("return_mean").fill_nan(None).rolling_mean(window, min_samples=1)
    return curves.sort("member", "iteration").with_columns(running.over("member")), window


def seed_range(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Mean, lowest and highest seed of `column` at each iteration where there is one."""
    value = pl.col(column).fill_nan(None)
    return (
        rows.group_by("iteration")
        .agg(pl.col("env_steps").mean(), mean=value.mean(), low=value.min(), high=value.max())
        .drop_nulls("mean")
        .sort("iteration")
    )
