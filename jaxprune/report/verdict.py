"""What a sweep found, in plain sentences."""

import polars as pl

from jaxprune.analysis import (
    BUDGET,
    NOT_SHOWN,
    STRONGEST,
    SWEET,
    WORSE,
    audit,
    best_average_score,
    best_members,
    distance_quantity,
    smallest_bound,
    without_diverged,
)
from jaxprune.report.budgets import budgets
from jaxprune.report.numbers import counted, family_wise, low_to_high, number, signed

ALPHA = 0.05
"""The family-wise error of the verdicts."""


def findings(
    results: pl.DataFrame,
    regret: pl.DataFrame,
    certificates: pl.DataFrame,
    spots: pl.DataFrame,
    *,
    alpha: float = ALPHA,
    arms: int = 1,
    everyone: pl.DataFrame | None = None,
) -> list[str]:
    """Sweet spots, the paper's choice, the audit of the bounds, and what to distrust.

    Args:
        results: of one family of members.
        regret: of the same members, by `decompose`.
        certificates: of the same members; may be empty.
        spots: the rows about them in the table of verdicts, by `sweet_spots`.
        alpha: the family-wise error of that table.
        arms: in how many training arms it has tests.
        everyone: the results of all arms, among which the best policy was chosen; those above for None.
    """
    return [
        *sweet_spot_lines(spots, alpha, arms),
        *_paper_lines(best_average_score(regret)),
        *audit_lines(certificates),
        *_best_lines(results if everyone is None else everyone),
        *_failed_lines(results),
    ]


def alarms(results: pl.DataFrame, certificates: pl.DataFrame) -> list[str]:
    """What must be known before anything else: which members diverged, and which numbers are wrong."""
    lines = [
        f"DIVERGED: member {member} (seed {seed}, sparsity {sparsity:.2f}), left out of means and verdicts"
        + (", with all members of its seed, which have lost their dense twin" if asked == 0 else "")
        for member, seed, sparsity, asked in results.filter("diverged")
        .select("member", "seed", "sparsity", "sparsity_asked")
        .unique()
        .sort("member")
        .iter_rows()
    ]
    violated = certificates.filter(pl.col("violated") > 0)
    if not violated.is_empty():
        names = ", ".join(violated["bound"].unique().sort())
        members = ", ".join(str(member) for member in violated["member"].unique().sort())
        states = counted(violated["violated"].sum(), "state")
        lines.append(
            f"WRONG: at {states} an attack found more than a bound allows "
            f"({names}; members {members}), so these bounds do not count"
        )
    outside = results["outside_ball"].sum()
    if outside:
        what = counted(outside, "perturbation")
        lines.append(f"WRONG: {what} outside the ball, so the attacked returns do not count")
    return lines


def sweet_spot_lines(spots: pl.DataFrame, alpha: float, arms: int) -> list[str]:
    """The verdict on each budget with its error rate, and what the placebo says."""
    lines = []
    for name, budget in budgets(spots).items():
        of_budget = spots.filter(budget)
        line = _sweet_spot_line(of_budget.filter(~pl.col("placebo")), alpha, _error(spots, alpha, arms))
        lines.append(f"{name}: {line}")
        lines += [
            f"{name}: placebo, {_placebo_line(row)}"
            for row in of_budget.filter("placebo", pl.col("seeds") > 0).iter_rows(named=True)
        ]
    return lines


def _error(spots: pl.DataFrame, alpha: float, arms: int) -> str:
    """The error rate of all verdicts on these sparsities, budgets and arms."""
    decided = spots.filter(~pl.col("placebo"), pl.col("attacked_p").is_not_null())
    sparsities, tested = decided["sparsity_asked"].n_unique(), len(budgets(decided))
    over = f"{sparsities} sparsities" if sparsities > 1 else "1 sparsity"
    more = "".join(f" x {count} {what}" for count, what in ((tested, "budgets"), (arms, "arms")) if count > 1)
    return f"{family_wise(alpha)} over {over}{more}"


def _sweet_spot_line(spots: pl.DataFrame, alpha: float, error: str) -> str:
    """The verdict on one budget."""
    undecided = spots.filter(pl.col("verdict").str.starts_with("undecided"))
    size = pl.col("attacked_difference").abs()
    largest = spots.sort(size, descending=True, nulls_last=True).row(0, named=True)
    if undecided.height == spots.height:
        if largest["seeds"] == 0:
            advice = ": train a dense policy (sparsity 0) of each seed to compare with"
            return largest["verdict"] + (advice if "no dense twin" in largest["verdict"] else "")
        return f"{largest['verdict']}; {_largest(largest)}"
    verdict, higher = pl.col("verdict"), pl.col("attacked_difference") > 0
    found = []
    for condition, words in (
        (verdict == SWEET, "sweet at sparsity"),
        (
            (verdict == NOT_SHOWN) & (pl.col("attacked_p") <= alpha) & higher,
            "better than dense under attack, but the clean return is not shown to be kept, at sparsity",
        ),
        (verdict == WORSE, "worse than dense under attack at sparsity"),
    ):
        rows = spots.filter(condition).sort("sparsity_asked")
        if not rows.is_empty():
            places = ", ".join(f"{sparsity:.2f}" for sparsity in rows["sparsity"])
            clearest = rows.sort(pl.col("attacked_difference").abs()).row(-1, named=True)
            found.append(f"{words} {places}; {_largest(clearest)}")
    shown = "; ".join(found) or f"no effect of pruning shown; {_largest(largest)}"
    left = f"; {undecided.height} of {spots.height} sparsities undecided" if undecided.height else ""
    return f"{shown} ({_seeds(spots)}, {error}{left})"


def _placebo_line(row: dict) -> str:
    """What the same comparison says of dense policies of different seeds."""
    verdict = f"; {row['verdict']}" if row["attacked_p"] is None else f", {_p(row, 'attacked')}"
    return (
        f"dense against dense in {counted(row['seeds'], 'pair')} of seeds: attacked "
        f"{_difference(row, 'attacked')}, clean {_difference(row, 'clean')}{verdict}"
    )


def _largest(row: dict) -> str:
    """The differences to the dense policy at the sparsity where the attacked one is largest."""
    attacked, clean = (_difference(row, about) + _p(row, about, ", ") for about in ("attacked", "clean"))
    return (
        f"largest difference at {row['sparsity']:.2f}: attacked {attacked}, clean {clean} against dense "
        f"(clean may lose {number(-row['clean_margin'])})"
    )


def _difference(row: dict, about: str) -> str:
    mean, low, high = (row[f"{about}_{name}"] for name in ("difference", "low", "high"))
    bounds = low_to_high(low, high)
    return f"{signed(mean)} [{bounds}]" if bounds else signed(mean)


def _p(row: dict, about: str, before: str = "") -> str:
    p = row[f"{about}_p"]
    return "" if p is None else f"{before}adjusted p {number(p)}"


def _seeds(spots: pl.DataFrame) -> str:
    fewest, most = spots.select(fewest=pl.min("seeds"), most=pl.max("seeds")).row(0)
    return counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"


def _paper_lines(choices: pl.DataFrame) -> list[str]:
    lines = []
    for name, budget in budgets(choices).items():
        row = choices.filter(budget).row(0, named=True)
        again = row["chosen_again"]
        left_out = "" if again is None else f", the same with one of them left out in {again:.0%} of cases"
        lines.append(
            f"{name}: estimate, the highest mean of normalised clean and attacked return is at sparsity "
            f"{row['sparsity']:.2f} (score {number(row['average_score'])}, dense "
            f"{number(row['dense_average_score'])}; {counted(row['seeds'], 'seed')}{left_out})"
        )
    return lines


def audit_lines(certificates: pl.DataFrame) -> list[str]:
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


def attack_lines(regret: pl.DataFrame) -> list[str]:
    """What the strongest attack of each budget leaves at the lowest and highest sparsity, and its name."""
    rows = without_diverged(regret.filter(pl.col("attack") == STRONGEST))
    lines = []
    for name, budget in budgets(rows).items():
        own = rows.filter(budget)
        means = own.group_by("sparsity_asked").agg(pl.mean("sparsity", "clean_return", "attacked_return"))
        ends = means.sort("sparsity_asked")[[0, -1]].unique(maintain_order=True)
        left = ", ".join(
            f"{number(attacked)} of {number(clean)} at sparsity {sparsity:.2f}"
            for sparsity, clean, attacked in ends.drop("sparsity_asked").iter_rows()
        )
        counts = own.group_by("found_by").len().sort(["len", "found_by"], descending=[True, False])
        attack, count = counts.row(0)
        by = f"{attack} for {count} of {own.height} members"
        lines.append(f"{name}: the strongest attack ({by}) leaves {left}")
    return lines


def tight_line(certificates: pl.DataFrame) -> str:
    """How the smallest sound bound of every pruned member compares with that of its dense twin."""
    distance = distance_quantity(certificates)
    smallest = smallest_bound(without_diverged(certificates), distance)
    pair = ("arm", "seed", *BUDGET)
    dense = smallest.filter(pl.col("sparsity_asked") == 0).select(*pair, dense="value")
    pruned = smallest.filter(pl.col("sparsity_asked") > 0).join(dense, on=pair)
    if pruned.is_empty():
        return "tight bounds: no pruned member has a dense twin to be compared with"
    above = (pruned["value"] > pruned["dense"]).sum()
    most = pruned.filter(pl.col("sparsity_asked") == pl.col("sparsity_asked").max())
    names = ", ".join(pruned["bound"].unique().sort())
    return (
        f"tight bounds: the smallest sound bound on {distance} ({names}) is above the dense policy's in "
        f"{above} of {pruned.height} cases; at sparsity {most['sparsity'].mean():.2f} it is "
        f"{number(most.select(pl.mean('value')).item())} in the mean, dense "
        f"{number(most.select(pl.mean('dense')).item())}"
    )


def _mask_verdict(row: dict) -> str:
    count = f"{row['above_unmasked']} of {row['with_unmasked']} masks raised it"
    if not row["monotone"]:
        return f"not monotone, {count}"
    if row["above_unmasked"]:
        return f"MONOTONE BUT {count}, which is a defect"
    return f"monotone, {count}, as the theorem demands"


def _best_lines(everyone: pl.DataFrame) -> list[str]:
    """Whose return is taken for the best there is."""
    members, several = everyone["member"].n_unique(), everyone["arm"].n_unique() > 1
    return [
        f"J(pi*) is an estimate, {number(best['return_mean'])}: the clean return of member {best['member']} "
        f"({best['arm'] * several}{', ' * several}sparsity {best['sparsity']:.2f}), the best of {members} on "
        "other episodes"
        for best in best_members(everyone).iter_rows(named=True)
    ]


def _failed_lines(results: pl.DataFrame) -> list[str]:
    """How many episodes have no true end."""
    failed, total = results["failed"].sum(), results["episodes"].sum()
    return [f"{failed} of {total} evaluation episodes ended on non-finite physics"] if failed else []
