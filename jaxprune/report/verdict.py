"""What a sweep found, in plain sentences."""

import polars as pl

from jaxprune.analysis import (
    CLEAN,
    DEFAULT_BOOTSTRAP,
    SWEET,
    Bootstrap,
    audit,
    best_average_score,
    distance_quantity,
    sweet_spots,
)
from jaxprune.report.budgets import budgets
from jaxprune.report.numbers import interval, number, signed


def verdicts(
    results: pl.DataFrame,
    regret: pl.DataFrame,
    certificates: pl.DataFrame,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> list[str]:
    """The sentences below the final tables: sweet spots, the paper's choice, the audit, and what to distrust.

    Args:
        results: of one family of members.
        regret: of the same members, by `decompose`.
        certificates: of the same members; may be empty.
        bootstrap: gives the intervals.
    """
    return [
        *_sweet_spot_lines(sweet_spots(regret, bootstrap)),
        *_paper_lines(best_average_score(regret)),
        *_audit_lines(certificates),
        *_trust_lines(results),
    ]


def _sweet_spot_lines(spots: pl.DataFrame) -> list[str]:
    return [f"{name}: {_sweet_spot_line(spots.filter(budget))}" for name, budget in budgets(spots).items()]


def _sweet_spot_line(spots: pl.DataFrame) -> str:
    """The verdict on one budget."""
    sweet = spots.filter(pl.col("verdict") == SWEET)
    candidates = spots if sweet.is_empty() else sweet
    best = candidates.sort("attacked_difference", descending=True, nulls_last=True).row(0, named=True)
    if not sweet.is_empty():
        places = ", ".join(f"{sparsity:.2f}" for sparsity in sweet["sparsity"])
        return f"sweet spots ({best['seeds']} seeds) at sparsity {places}; {_evidence(best)}"
    if best["seeds"] == 0:
        return f"{best['verdict']}: train a dense policy (sparsity 0) of each seed to compare with"
    if spots["verdict"].str.starts_with("undecided").all():
        return f"{best['verdict']}, so no interval; {_evidence(best)}"
    return (
        "pruning did not help here: at no sparsity is the attacked return reliably higher and the clean one "
        f"kept ({best['seeds']} seeds); {_evidence(best)}"
    )


def _evidence(row: dict) -> str:
    """The differences to the dense policy at one sparsity."""
    attacked = _difference(row["attacked_difference"], row["attacked_low"], row["attacked_high"])
    clean = _difference(row["clean_difference"], row["clean_low"], row["clean_high"])
    return (
        f"best at sparsity {row['sparsity']:.2f}: attacked {attacked}, clean {clean} against dense "
        f"(clean may lose {number(-row['clean_margin'])})"
    )


def _difference(mean: float, low: float | None, high: float | None) -> str:
    bounds = interval(low, high)
    return f"{signed(mean)} [{bounds}]" if bounds else signed(mean)


def _paper_lines(choices: pl.DataFrame) -> list[str]:
    lines = []
    for name, budget in budgets(choices).items():
        row = choices.filter(budget).row(0, named=True)
        lines.append(
            f"{name}: highest mean of normalised clean and attacked return at sparsity {row['sparsity']:.2f} "
            f"(score {number(row['average_score'])}, dense {number(row['dense_average_score'])})"
        )
    return lines


def _audit_lines(certificates: pl.DataFrame) -> list[str]:
    """What masks and pruning did to each bound on the policies' distance, over all budgets and sparsities."""
    bounds = audit(certificates).filter(
        pl.col("kind") == "bound", pl.col("quantity") == distance_quantity(certificates)
    )
    counts = bounds.group_by("monotone", "bound").agg(
        pl.sum("with_unmasked", "above_unmasked", "with_twin", "above_dense"), pl.max("largest_ratio")
    )
    return [
        f"{row['bound']} bound: {_mask_verdict(row)}; larger than the dense policy's in "
        f"{row['above_dense']} of {row['with_twin']} cases, at most {number(row['largest_ratio'])} times"
        for row in counts.sort("monotone", "bound", descending=[True, False]).iter_rows(named=True)
    ]


def _mask_verdict(row: dict) -> str:
    count = f"{row['above_unmasked']} of {row['with_unmasked']} masks raised it"
    if not row["monotone"]:
        return f"not monotone, {count}"
    if row["above_unmasked"]:
        return f"MONOTONE BUT {count}, which is a defect"
    return f"monotone, {count}, as the theorem demands"


def _trust_lines(results: pl.DataFrame) -> list[str]:
    """What the reader must know before believing the numbers."""
    best = results.filter(pl.col("attack") == CLEAN).sort("return_mean").row(-1, named=True)
    lines = [
        f"J(pi*) is {number(best['return_mean'])}, the best mean clean return here: member {best['member']}, "
        f"sparsity {best['sparsity']:.2f}"
    ]
    failed, outside = results["failed"].sum(), results["outside_ball"].sum()
    if failed:
        lines.append(
            f"{failed} of {results['episodes'].sum()} evaluation episodes ended on non-finite physics"
        )
    if outside:
        lines.append(
            f"WRONG: {outside} perturbations lie outside their ball, so the attacked returns do not count"
        )
    return lines
