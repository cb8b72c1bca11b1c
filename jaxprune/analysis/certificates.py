"""The pruning audit of certificates: which bounds grew when weights were removed."""

import polars as pl

from jaxprune.analysis.diverged import without_diverged
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
    certificates = without_diverged(certificates)
    place = (*_BOUND, "policy")
    twin = (*place, "seed")
    dense = certificates.filter(pl.col("sparsity_asked") == 0).select(*twin, dense="value")
    if dense.select(twin).is_duplicated().any():
        raise ValueError(
            "certificates: several dense members share a seed; audit one family of members at a time"
        )
    value = pl.col("value")
    return (
        certificates.filter(pl.col("sparsity_asked") > 0)
        .join(dense, on=twin, how="left")
        .group_by(*place, "sparsity_asked")
        .agg(
            with_unmasked=pl.count("unmasked").cast(pl.Int64),
            above_unmasked=(value > pl.col("unmasked")).sum().cast(pl.Int64),
            with_twin=pl.count("dense").cast(pl.Int64),
            above_dense=(value > pl.col("dense")).sum().cast(pl.Int64),
            largest_ratio=(value / pl.col("dense")).fill_nan(None).max(),
        )
        .sort(*place, "sparsity_asked")
    )


def at_the_same_states(states: pl.DataFrame) -> pl.DataFrame:
    """The mean over the states of every value: one row per member x bound.

    `tightness` is the ratio of the means, of bound and found, null where nothing was found.
    """
    validate(states, "states")
    means = states.group_by(
        "member", "seed", "sparsity_asked", "sparsity", *_BOUND, "arithmetic", maintain_order=True
    ).agg(pl.len().cast(pl.Int64).alias("states"), pl.mean("value", "tv", "kl", "found", "dense"))
    ratio = pl.when(pl.col("found") > 0).then(pl.col("value") / pl.col("found"))
    return means.with_columns(tightness=ratio)


def against_dense(states: pl.DataFrame) -> pl.DataFrame:
    """How often a bound, or what an attack found, is larger after pruning, and how often smaller.

    Returns:
        One row per bound x sparsity above 0, over the members that have a dense twin: `states_above` and
        `states_below` of `states` (member x state), `members_above` and `members_below` of `members` (by the
        mean over states); `mean_ratio` of the means and `largest_ratio` over the states, pruned over dense,
        null where dense is 0 throughout.
        `proven_above`: at how many states an attack on the pruned policy found more than the dense policy's
        *bound* allows, so that the true distance rose there; `proven_below`: at how many the pruned policy's
        bound is below what an attack found on the dense one, so that it fell. Null for an estimate, which
        proves nothing.
    """
    validate(states, "states")
    pruned = states.filter(pl.col("sparsity_asked") > 0, pl.col("dense").is_not_null())
    value, dense = pl.col("value"), pl.col("dense")
    place = (*_BOUND, "sparsity_asked")
    of_members = (
        at_the_same_states(pruned)
        .group_by(place)
        .agg(members=_count(), members_above=_sum(value > dense), members_below=_sum(value < dense))
    )
    ratio = pl.when(dense > 0).then(value / dense)
    proven = pl.col("proven_above", "proven_below")
    return (
        pruned.group_by(place)
        .agg(
            states=_count(),
            states_above=_sum(value > dense),
            states_below=_sum(value < dense),
            proven_above=_sum(pl.col("found") > dense),
            proven_below=_sum(value < pl.col("dense_found")),
            mean_ratio=pl.when(dense.mean() > 0).then(value.mean() / dense.mean()),
            largest_ratio=ratio.fill_nan(None).max(),
        )
        .with_columns(pl.when(pl.col("kind") == "bound").then(proven))
        .join(of_members, on=place)
        .sort(place)
    )


def _count() -> pl.Expr:
    return pl.len().cast(pl.Int64)


def _sum(condition: pl.Expr) -> pl.Expr:
    """How often something holds."""
    return condition.sum().cast(pl.Int64)


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
