"""The pruning audit of certificates: which bounds grew when weights were removed."""

import polars as pl

from jaxprune.analysis.diverged import without_diverged
from jaxprune.analysis.statistics import across_seeds
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
    twin = (*place, "arm", "seed")
    dense = certificates.filter(pl.col("sparsity_asked") == 0).select(*twin, dense="value")
    if dense.select(twin).is_duplicated().any():
        raise ValueError(
            "certificates: several dense members share a seed; audit one family of members at a time"
        )
    value = pl.col("value")
    return (
        certificates.filter(pl.col("sparsity_asked") > 0)
        .join(dense, on=twin, how="left")
        .group_by(*place, "arm", "sparsity_asked")
        .agg(
            with_unmasked=pl.count("unmasked").cast(pl.Int64),
            above_unmasked=(value > pl.col("unmasked")).sum().cast(pl.Int64),
            with_twin=pl.count("dense").cast(pl.Int64),
            above_dense=(value > pl.col("dense")).sum().cast(pl.Int64),
            largest_ratio=(value / pl.col("dense")).fill_nan(None).max(),
        )
        .sort(*place, "arm", "sparsity_asked")
    )


def at_the_same_states(states: pl.DataFrame) -> pl.DataFrame:
    """The mean over the states of every value: one row per ball x member x bound.

    `tightness` is the ratio of the means, of bound and found, null where nothing was found. `violated` is the
    number of states at which an attack found more than a bound allows, in the same ball: anything but 0 is a
    defect. Null for an estimate.
    """
    validate(states, "states")
    who = ("ball", "member", "arm", "seed", "sparsity_asked", "sparsity", "diverged")
    means = states.group_by(*who, *_BOUND, "arithmetic", maintain_order=True).agg(
        pl.mean("value", "tv", "kl", "found", "dense"),
        states=_count(),
        violated=pl.when(pl.col("kind").first() == "bound").then(_sum(pl.col("found") > pl.col("value"))),
    )
    ratio = pl.when(pl.col("found") > 0).then(pl.col("value") / pl.col("found"))
    return means.with_columns(tightness=ratio)


def against_dense(states: pl.DataFrame) -> pl.DataFrame:
    """How often a bound, or what an attack found, is larger after pruning, and how often smaller.

    States of one policy are visited one after the other and depend on each other, so shares are taken per
    member first. Members that diverged, or whose dense twin did, are left out.

    Returns:
        One row per ball x bound x sparsity above 0, over the `members` of `seeds` that have a dense twin.
        `share_above` and `share_below`: the share of a member's states, mean over the members, with the
        interval over seeds from `..._low` to `..._high` (null for one seed); `members_above` and
        `members_below`: members by their mean over states. `mean_ratio` of the means and `largest_ratio` over
        the states, pruned over dense, null where dense is 0 throughout.
        `states`, `states_above`, `states_below`: counts of states, no independent cases.
        `proven_above`: at how many states an attack on the pruned policy found more than the dense policy's
        *bound* allows, so that it can be moved further there; `proven_below`: at how many the pruned policy's
        bound is below what an attack found on the dense one; `members_proven_above` and
        `members_proven_below`: in how many members there is such a state. Null for an estimate, which proves
        nothing.
    """
    validate(states, "states")
    fallen = states.filter("diverged", pl.col("sparsity_asked") == 0).select("arm", "seed").unique()
    pruned = states.filter(
        pl.col("sparsity_asked") > 0, pl.col("dense").is_not_null(), ~pl.col("diverged")
    ).join(fallen, on=["arm", "seed"], how="anti", maintain_order="left")
    value, dense = pl.col("value"), pl.col("dense")
    ratio = pl.when(dense > 0).then(value / dense)
    place = ("ball", "arm", *_BOUND, "sparsity_asked")
    per_member = pruned.group_by(*place, "member", "seed").agg(
        states=_count(),
        states_above=_sum(value > dense),
        states_below=_sum(value < dense),
        proven_above=_sum(pl.col("found") > dense),
        proven_below=_sum(value < pl.col("dense_found")),
        mean=value.mean(),
        dense_mean=dense.mean(),
        largest_ratio=ratio.fill_nan(None).max(),
    )
    counts = pl.col("states", "states_above", "states_below", "proven_above", "proven_below")
    proven = pl.col("^(members_)?proven_.*$")
    above, below = (_share(per_member, place, side) for side in ("above", "below"))
    return (
        per_member.group_by(place)
        .agg(
            counts.sum(),
            members=_count(),
            members_above=_sum(pl.col("mean") > pl.col("dense_mean")),
            members_below=_sum(pl.col("mean") < pl.col("dense_mean")),
            members_proven_above=_sum(pl.col("proven_above") > 0),
            members_proven_below=_sum(pl.col("proven_below") > 0),
            mean_ratio=pl.when(pl.mean("dense_mean") > 0).then(pl.mean("mean") / pl.mean("dense_mean")),
            largest_ratio=pl.max("largest_ratio"),
        )
        .with_columns(pl.when(pl.col("kind") == "bound").then(proven))
        .join(above, on=place)
        .join(below.drop("seeds"), on=place)
        .sort(place)
    )


def _share(per_member: pl.DataFrame, place: tuple[str, ...], side: str) -> pl.DataFrame:
    """The mean over members of their share of states on one side, and its interval over seeds in [0, 1]."""
    share = pl.col(f"states_{side}") / pl.col("states")
    return across_seeds(per_member.with_columns(share=share), place, "share").select(
        *place,
        "seeds",
        pl.col("mean").alias(f"share_{side}"),
        pl.col("low").clip(0, 1).alias(f"share_{side}_low"),
        pl.col("high").clip(0, 1).alias(f"share_{side}_high"),
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
