"""How much of a policy's return is left under shifted dynamics, and whether pruning has changed that."""

import numpy as np
import polars as pl

from jaxprune.analysis.frontier import NOT_SHOWN, WORSE
from jaxprune.analysis.signflip import FLIPS, adjusted_p, needed_pairs
from jaxprune.analysis.statistics import DEFAULT_INTERVAL, Student
from jaxprune.analysis.tables import SHIFT_SUMMARY, validate

NOMINAL = "nominal"
"""The name in the column `parameter` of the row in which nothing is shifted; its point is 0."""

JOINT = "joint"
"""The name there of the rows in which all parameters are drawn at once; their `factor` is null."""

BETTER = "better"

ABOUT = ("mean", "worst")
"""The columns of the summary that a verdict is about."""


def summarise_shifts(shifts: pl.DataFrame) -> pl.DataFrame:
    """One row per member of the table `shifts`, over its points, each counted once.

    A point is one set of factors: nothing shifted, one parameter shifted, or all of them drawn. `nominal` is
    the mean return where nothing is shifted; `mean`, `quantile_10` (with linear interpolation) and `worst`
    are over the mean returns of all points. `worst` is the smallest of many noisy means, so it is too low, by
    about as much for every member.

    Raises:
        ValueError: the table is malformed, or a member has no nominal point.
    """
    validate(shifts, "shifts")
    points = shifts.sort("member", "point").unique(["member", "point"], keep="first", maintain_order=True)
    without = points.group_by("member").agg(pl.min("point")).filter(pl.col("point") != 0)
    if without.height:
        raise ValueError(
            f"shifts: members {without['member'].sort().to_list()} have no row with parameter {NOMINAL!r}; "
            "evaluate them without a shift first"
        )
    returns = pl.col("return_mean")
    summary = points.group_by("member", "arm", "seed", "sparsity_asked", "sparsity", "diverged").agg(
        points=pl.len(),
        nominal=returns.filter(pl.col("point") == 0).first(),
        mean=returns.mean(),
        quantile_10=returns.quantile(0.1, "linear"),
        worst=returns.min(),
        worst_point=pl.col("point").sort_by("return_mean", "point").first(),
    )
    return validate(summary.select(SHIFT_SUMMARY.names()).cast(SHIFT_SUMMARY).sort("member"), "shift_summary")


def shift_verdicts(
    summary: pl.DataFrame,
    alpha: float = 0.05,
    interval: Student = DEFAULT_INTERVAL,
    flips: int = FLIPS,
) -> pl.DataFrame:
    """Whether pruning changed the return under shifts, in each training arm, with family-wise error `alpha`.

    A hypothesis, for each sparsity above 0 and each of `ABOUT`: member minus dense twin (same seed) is 0.
    Those of an arm are tested together, paired by seed, by the exact sign-flip test `adjusted_p`; arms have
    their p values multiplied by their number. The verdict is "better"
    or "worse" where a difference is rejected, "not shown" where it is not, "undecided (N seeds, M needed)"
    where the pairs are too few to reject anything, and "undecided (no dense twin)". Members that have
    diverged, and those whose twin has, are left out.

    Args:
        summary: by `summarise_shifts`, of members that differ in arm, seed and sparsity only.
        alpha: the family-wise error.
        interval: gives the intervals of the differences, each alone.
        flips: the most flips of signs.

    Returns:
        One row per arm, sparsity above 0 and `about`: `sparsity`, `seeds` (pairs), `difference` (its mean
        over them), `low`, `high`, `p` (adjusted; null where undecided) and `verdict`.

    Raises:
        ValueError: the table is malformed.
    """
    validate(summary, "shift_summary")
    arms = summary["arm"].unique(maintain_order=True)
    tables = [
        _of_arm(summary.filter(pl.col("arm") == arm), len(arms), alpha, interval, flips).select(
            pl.lit(arm).alias("arm"), pl.all()
        )
        for arm in arms
    ]
    return pl.concat(tables)


def _of_arm(summary: pl.DataFrame, arms: int, alpha: float, interval: Student, flips: int) -> pl.DataFrame:
    """The rows of one of so many arms."""
    twins = summary.filter(pl.col("sparsity_asked") == 0)
    dense = twins.filter(~pl.col("diverged")).select("seed", pl.col(*ABOUT).name.prefix("dense_"))
    pruned = summary.filter(pl.col("sparsity_asked") > 0)
    pairs = pruned.filter(~pl.col("diverged")).join(dense, on="seed")
    seeds = pairs["seed"].unique().sort()
    needed = needed_pairs(alpha, arms)
    names, columns = [], []
    for sparsity in pruned["sparsity_asked"].unique().sort():
        of_sparsity = seeds.to_frame().join(
            pairs.filter(sparsity_asked=sparsity), on="seed", how="left", maintain_order="left"
        )
        for about in ABOUT:
            names.append((sparsity, about))
            difference = (of_sparsity[about] - of_sparsity[f"dense_{about}"]).to_numpy()
            columns.append(difference.astype(np.float64))
    counts = [int((~np.isnan(column)).sum()) for column in columns]
    tested = [place for place, count in enumerate(counts) if count >= needed]
    found: dict[int, float] = {}
    if tested:
        values = np.stack([columns[place] for place in tested], axis=1)
        adjusted = np.minimum(1.0, arms * adjusted_p(values, flips))
        found = dict(zip(tested, adjusted.tolist(), strict=True))
    rows = []
    for place, (sparsity, about) in enumerate(names):
        known = columns[place][~np.isnan(columns[place])]
        estimate = interval.mean(known) if known.size else (None, None, None)
        p = found.get(place)
        achieved = pruned.filter(sparsity_asked=sparsity)["sparsity"].mean()
        verdict = _verdict(estimate[0], p, alpha, known.size, needed)
        if twins.is_empty():
            verdict = "undecided (no dense twin)"
        rows.append((sparsity, about, achieved, known.size, *estimate, p, verdict))
    schema = {"sparsity_asked": pl.Float64(), "about": pl.String(), "sparsity": pl.Float64()}
    schema |= {"seeds": pl.Int64()} | dict.fromkeys(("difference", "low", "high", "p"), pl.Float64())
    return pl.DataFrame(rows, schema=schema | {"verdict": pl.String()}, orient="row")


def _verdict(difference: float | None, p: float | None, alpha: float, pairs: int, needed: int) -> str:
    if difference is None or p is None:
        return f"undecided ({pairs} {'seed' if pairs == 1 else 'seeds'}, {needed} needed)"
    if p > alpha:
        return NOT_SHOWN
    return BETTER if difference > 0 else WORSE
