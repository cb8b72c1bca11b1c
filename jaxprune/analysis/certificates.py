"""The pruning audit of certificates: which bounds grew when weights were removed."""

import polars as pl

from jaxprune.analysis.tables import BUDGET, validate

_BOUND = ("bound", "quantity", "monotone", "kind", *BUDGET)


def audit(certificates: pl.DataFrame) -> pl.DataFrame:
    """How many members of each sparsity are above their value without the mask, and above their dense twin.

    The theorem `U(theta * M) <= U(theta)` makes `above_unmasked` 0 for every monotone bound: anything else
    is a defect. It says nothing about the dense twin (same seed, sparsity 0), whose weights are others as
    soon as training goes on after pruning; `above_dense` is a finding for all bounds.

    Returns:
        One row per bound x quantity x kind x budget x sparsity above 0: `above_unmasked` among the
        `with_unmasked` members for which that value is known, `above_dense` among the `with_twin` members
        that have a twin, and `largest_ratio`, the largest value over the twin's.

    Raises:
        ValueError: the table is malformed, or two dense members have the same seed.
    """
    validate(certificates, "certificates")
    twin = (*_BOUND, "seed")
    dense = certificates.filter(pl.col("sparsity_asked") == 0).select(*twin, dense="value")
    if dense.select(twin).is_duplicated().any():
        raise ValueError(
            "certificates: several dense members share a seed; audit one family of members at a time"
        )
    value = pl.col("value")
    return (
        certificates.filter(pl.col("sparsity_asked") > 0)
        .join(dense, on=twin, how="left")
        .group_by(*_BOUND, "sparsity_asked")
        .agg(
            with_unmasked=pl.count("unmasked").cast(pl.Int64),
            above_unmasked=(value > pl.col("unmasked")).sum().cast(pl.Int64),
            with_twin=pl.count("dense").cast(pl.Int64),
            above_dense=(value > pl.col("dense")).sum().cast(pl.Int64),
            largest_ratio=(value / pl.col("dense")).fill_nan(None).max(),
        )
        .sort(*_BOUND, "sparsity_asked")
    )


def distance_quantity(certificates: pl.DataFrame) -> str:
    """The name of the policies' distance in the table: `range` if they are categorical, else `delta`."""
    return "range" if "range" in certificates["quantity"] else "delta"


def smallest_bound(certificates: pl.DataFrame, quantity: str) -> pl.DataFrame:
    """For each member and budget, the row of the smallest sound bound on `quantity`; estimates do not count.

    The minimum of sound bounds is sound. Pass the monotone rows alone to get the best monotone bound.
    """
    cell = ("member", *BUDGET)
    return (
        certificates.filter((pl.col("quantity") == quantity) & (pl.col("kind") == "bound"))
        .sort("value", "bound")
        .unique(cell, keep="first", maintain_order=True)
        .sort(cell)
    )
