"""At which sparsities pruning pays: the sweet spots, and the pruning paper's own choice."""

import polars as pl

from jaxprune.analysis.regret import STRONGEST
from jaxprune.analysis.statistics import DEFAULT_BOOTSTRAP, Bootstrap, Estimate
from jaxprune.analysis.tables import BUDGET, FAMILY

SWEET = "sweet"
NOT_SWEET = "not sweet"

_PLACE = (*FAMILY, *BUDGET, "sparsity_asked")


def sweet_spots(
    regret: pl.DataFrame, bootstrap: Bootstrap = DEFAULT_BOOTSTRAP, clean_tolerance: float = 0.05
) -> pl.DataFrame:
    """Whether each sparsity is a sweet spot under the strongest attack.

    It is one when, over seeds paired with their dense twins,

    - the attacked return is higher: the low end of the interval of its difference is above 0, and
    - the clean return is no lower by more than `clean_tolerance` of the dense one's: the low end of the
      interval of its difference is at least `clean_margin = -clean_tolerance * |mean dense clean return|`.

    One seed has no interval and never makes a sweet spot: its verdict is "undecided (1 seed)". Sparsities
    are judged one by one, with no correction for how many are tried.

    Args:
        regret: the table made by `decompose`; only its "strongest" rows count.
        bootstrap: gives the intervals.
        clean_tolerance: the share of the dense clean return that may be lost.

    Returns:
        One row per family x budget x sparsity above 0: `sparsity`, `seeds` (pairs),
        `attacked_difference`, `attacked_low`, `attacked_high`, `clean_difference`, `clean_low`, `clean_high`,
        `clean_margin` (all in units of return, member minus dense) and `verdict`, one of "sweet",
        "not sweet", "undecided (1 seed)" and "undecided (no dense twin)".
    """
    rows = [
        (*place, *_judge(members, bootstrap, clean_tolerance))
        for place, members in _strongest_rows(regret).filter(pl.col("sparsity_asked") > 0).group_by(_PLACE)
    ]
    numbers = (
        "attacked_difference",
        "attacked_low",
        "attacked_high",
        "clean_difference",
        "clean_low",
        "clean_high",
        "clean_margin",
    )
    schema = (
        {name: regret.schema[name] for name in (*_PLACE, "sparsity")}
        | {"seeds": pl.Int64()}
        | dict.fromkeys(numbers, pl.Float64())
        | {"verdict": pl.String()}
    )
    return pl.DataFrame(rows, schema=schema, orient="row").sort(_PLACE)


def best_average_score(regret: pl.DataFrame) -> pl.DataFrame:
    """The pruning paper's choice: the sparsity with the highest mean of normalised clean and attacked return.

    `average_score = (normalised_clean + normalised_attacked) / 2`, averaged over seeds, under the strongest
    attack (Pedley et al. 2025, arXiv 2510.12939; the normalisation is that of `decompose`).

    Returns:
        One row per family x budget: `sparsity_asked`, `sparsity`, `average_score`, `dense_average_score`
        (null without dense members). A tie goes to the lower sparsity. Where returns cannot be normalised
        there is no row.
    """
    scores = (
        _strongest_rows(regret)
        .with_columns(average_score=(pl.col("normalised_clean") + pl.col("normalised_attacked")) / 2)
        .drop_nulls("average_score")
        .group_by(_PLACE)
        .agg(pl.col("sparsity", "average_score").mean())
    )
    dense = scores.filter(pl.col("sparsity_asked") == 0).select(
        *FAMILY, *BUDGET, dense_average_score="average_score"
    )
    return (
        scores.sort("average_score", "sparsity_asked", descending=[True, False])
        .unique((*FAMILY, *BUDGET), keep="first", maintain_order=True)
        .join(dense, on=(*FAMILY, *BUDGET), how="left")
        .sort(*FAMILY, *BUDGET)
    )


def _strongest_rows(regret: pl.DataFrame) -> pl.DataFrame:
    return regret.filter(pl.col("attack") == STRONGEST)


def _judge(members: pl.DataFrame, bootstrap: Bootstrap, clean_tolerance: float) -> tuple:
    """The columns of one row of `sweet_spots` from `sparsity` on."""
    sparsity = members["sparsity"].mean()
    # Sorted, because resampling draws by position and the order of a group's rows is not defined.
    pairs = members.drop_nulls("dense_clean_return").sort("seed")
    if pairs.is_empty():
        return (sparsity, 0, *[None] * 7, "undecided (no dense twin)")
    attacked = bootstrap.paired_difference(pairs["attacked_return"], pairs["dense_attacked_return"])
    clean = bootstrap.paired_difference(pairs["clean_return"], pairs["dense_clean_return"])
    clean_margin = -clean_tolerance * abs(pairs["dense_clean_return"].mean())
    verdict = _verdict(attacked, clean, clean_margin)
    return (sparsity, pairs.height, *attacked, *clean, clean_margin, verdict)


def _verdict(attacked: Estimate, clean: Estimate, clean_margin: float) -> str:
    if attacked.low is None or clean.low is None:
        return "undecided (1 seed)"
    return SWEET if attacked.low > 0 and clean.low >= clean_margin else NOT_SWEET
