"""What a pruned policy under attack loses against the best policy known, split into three causes."""

import polars as pl

from jaxprune.analysis.tables import BUDGET, CLEAN, FAMILY, validate

STRONGEST = "strongest"
"""The name in the column `attack` of the rows made by `strongest`."""

_ENVIRONMENT = ("task", "physics")
_TWIN = (*FAMILY, "seed")
_TERMS = (
    "best_return",
    "clean_return",
    "attacked_return",
    "dense_clean_return",
    "dense_attacked_return",
    "clean_regret",
    "pruning_loss",
    "robustness_gap",
    "total",
    "robustness_gain",
    "normalised_clean",
    "normalised_attacked",
)


def strongest(results: pl.DataFrame) -> pl.DataFrame:
    """For each member and budget, the attack that left the smallest `selection_mean`.

    The rows keep the columns of `results`, but `attack` reads "strongest", the new column `found_by` names
    the attack, and `attackers_tried` is summed over all attacks of that budget. Ties go to the first
    name. Clean episodes are no candidate, so a gap below zero stays visible: all attacks may be weak.

    The smallest of several noisy means is too small, which is why the attack is chosen on other episodes
    than those that `return_mean` is about. So `return_mean` is unbiased for the attack chosen, and another
    attack may happen to have a smaller one.
    """
    cell = ("member", *BUDGET)
    return (
        results.filter(pl.col("attack") != CLEAN)
        .with_columns(found_by="attack", attackers_tried=pl.col("attackers_tried").sum().over(cell))
        .sort("selection_mean", "attack")
        .unique(cell, keep="first", maintain_order=True)
        .with_columns(attack=pl.lit(STRONGEST))
        .sort(cell)
    )


# Long for what it explains: every column of the table.
def decompose(results: pl.DataFrame, best_return: float | None = None) -> pl.DataFrame:
    """The three-term regret of each member x attack x budget, and of each member's strongest attack.

    With `pi*` the best policy known, `pi_theta` the dense twin (same seed and family, sparsity asked 0),
    `pi_m` the member and `nu` the attack,

        J(pi*) - J(pi_m o nu) =   J(pi*) - J(pi_theta)         clean_regret
                                + J(pi_theta) - J(pi_m)        pruning_loss
                                + J(pi_m) - J(pi_m o nu)       robustness_gap

    adds up to `total` exactly, up to rounding. `J` is the mean undiscounted return over evaluation episodes,
    `return_mean`; which attack is the strongest and which policy the best is chosen on other episodes
    (`selection_mean`), so any term may be negative.

    Args:
        results: a table of schema `RESULTS`.
        best_return: `J(pi*)` of the one environment in the table, where it is known. Otherwise it is
            estimated, by the clean `return_mean` of the member of the same environment (task and physics)
            with the largest clean `selection_mean`, no diverged one.

    Returns:
        Columns `member`, those of `FAMILY`, `seed`, `sparsity_asked`, `sparsity`, `attack` (with rows
        "strongest"), those of `BUDGET`, `episodes`, `return_std`, `attackers_tried`, `found_by`,
        `diverged` (the member or its dense twin has), the terms above and:

        - `best_return`, `clean_return`, `attacked_return`, `dense_clean_return`, `dense_attacked_return`.
          In a "strongest" row the dense twin stands under its own strongest attack.
        - `robustness_gain`: the dense gap minus the member's gap. A gap also closes when the clean
          return falls, so read it beside the returns.
        - `normalised_clean`, `normalised_attacked`: returns divided by `best_return`; null unless that is
          above zero.

        Without a dense twin that met the same attack, `clean_regret`, `pruning_loss`, `robustness_gain` and
        the dense returns are null; `robustness_gap` and `total` are still there. Where all members have
        diverged, so are `best_return` and what it is part of. Without attacks there are no rows.

    Raises:
        ValueError: `results` is malformed, a member has no clean row, two members share seed, family and
            sparsity, or `best_return` is given for several environments.
    """
    validate(results, "results")
    _check_one_member_per_seed(results)
    _check_clean_rows(results)
    clean = results.filter(pl.col("attack") == CLEAN).select("member", clean_return="return_mean")
    attacked = pl.concat(
        [
            results.filter(pl.col("attack") != CLEAN).with_columns(found_by="attack"),
            strongest(results),
        ]
    ).rename({"return_mean": "attacked_return"})
    best = _best(results, best_return)
    members = attacked.join(clean, on="member").join(best, on=_ENVIRONMENT, how="left")
    identity = ("member", *FAMILY, "seed", "sparsity_asked", "sparsity", "attack", *BUDGET)
    counts = ("episodes", "return_std", "attackers_tried", "found_by", "diverged")
    return (
        _with_terms(_beside_dense_twin(members))
        .select(*identity, *counts, *_TERMS)
        .sort(*FAMILY, "member", *BUDGET, "attack")
    )


def _beside_dense_twin(members: pl.DataFrame) -> pl.DataFrame:
    """Every row with the returns of its dense twin under the same attack and budget."""
    dense = members.filter(pl.col("sparsity_asked") == 0).select(
        *_TWIN,
        "attack",
        *BUDGET,
        dense_clean_return="clean_return",
        dense_attacked_return="attacked_return",
        dense_diverged="diverged",
    )
    return members.join(dense, on=(*_TWIN, "attack", *BUDGET), how="left")


def _with_terms(members: pl.DataFrame) -> pl.DataFrame:
    """Every row with the terms of its regret."""
    return members.with_columns(
        clean_regret=pl.col("best_return") - pl.col("dense_clean_return"),
        pruning_loss=pl.col("dense_clean_return") - pl.col("clean_return"),
        robustness_gap=pl.col("clean_return") - pl.col("attacked_return"),
        total=pl.col("best_return") - pl.col("attacked_return"),
        normalised_clean=_normalised("clean_return"),
        normalised_attacked=_normalised("attacked_return"),
        diverged=pl.col("diverged") | pl.col("dense_diverged").fill_null(value=False),
    ).with_columns(
        robustness_gain=pl.col("dense_clean_return")
        - pl.col("dense_attacked_return")
        - pl.col("robustness_gap")
    )


def best_members(results: pl.DataFrame) -> pl.DataFrame:
    """For each environment, the clean row of the best policy: the largest `selection_mean`, not diverged.

    Ties go to the first member. An environment in which all have diverged has no row.
    """
    return (
        results.filter(pl.col("attack") == CLEAN, ~pl.col("diverged"))
        .sort("selection_mean", "member", descending=[True, False])
        .unique(_ENVIRONMENT, keep="first", maintain_order=True)
        .sort(_ENVIRONMENT)
    )


def _best(results: pl.DataFrame, best_return: float | None) -> pl.DataFrame:
    """`J(pi*)` of each environment."""
    if best_return is None:
        return best_members(results).select(*_ENVIRONMENT, best_return="return_mean")
    best = results.select(_ENVIRONMENT).unique()
    if best.height > 1:
        raise ValueError(
            f"best_return={best_return}: one number for {best.height} environments; "
            "split the table by task and physics"
        )
    return best.with_columns(best_return=pl.lit(best_return, dtype=pl.Float64))


def _normalised(column: str) -> pl.Expr:
    return pl.when(pl.col("best_return") > 0).then(pl.col(column) / pl.col("best_return"))


def _check_one_member_per_seed(results: pl.DataFrame) -> None:
    place = (*_TWIN, "sparsity_asked")
    shared = (
        results.select("member", *place)
        .unique()
        .group_by(place)
        .agg(pl.col("member").sort())
        .filter(pl.col("member").list.len() > 1)
    )
    if not shared.is_empty():
        raise ValueError(
            f"results: members {shared['member'][0].to_list()} share seed, sparsity and family, so none of "
            "them has one dense twin; split the table by what distinguishes them"
        )


def _check_clean_rows(results: pl.DataFrame) -> None:
    clean = results.filter(pl.col("attack") == CLEAN)
    without = results.join(clean, on="member", how="anti")["member"].unique().sort()
    if len(without):
        raise ValueError(
            f"results: members {without.to_list()} have no row with attack {CLEAN!r}; "
            "evaluate them clean first"
        )
    if clean["member"].is_duplicated().any():
        raise ValueError(f"results: a member has several rows with attack {CLEAN!r}; keep one")
