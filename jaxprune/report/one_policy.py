"""What an audit of one policy, or an attack on it, says: one table by sparsity, and the verdict in words."""

from typing import Any

import polars as pl
from rich.table import Table

from jaxprune.analysis import CLEAN, STRONGEST
from jaxprune.report.attacked_returns import KINDS, LEAST, larger_kind, leaves_something
from jaxprune.report.audit import theorem_line
from jaxprune.report.console import plain_table
from jaxprune.report.effort import attacks_tried
from jaxprune.report.numbers import counted, low_to_high, number
from jaxprune.report.words import Words

LOSS = 0.05
"""Of the dense policy's clean return: what a pruned one may lose and still have kept it."""

BOUNDS = ("path", "crown")
"""The bounds that the table shows: one that no mask can raise, and a tight one."""


def policy_words(
    *,
    results: pl.DataFrame,
    members: pl.DataFrame,
    certificates: pl.DataFrame,
    attacked_returns: pl.DataFrame | None,
) -> Words:
    """The verdict on one policy pruned at several levels.

    Args:
        results: of an attack search.
        members: the bounds at the same states.
        certificates: of every member on its own clean states.
        attacked_returns: certified returns under attack at every step, at one radius, if there are any.
    """
    rows = overview(results, members, attacked_returns)
    about = _about(results) | {
        "quantity": members["quantity"][0],
        "return_eps": None if attacked_returns is None else attacked_returns["eps"][0],
    }
    lines = [*_return_lines(rows, about), *_bound_lines(rows, certificates)]
    if attacked_returns is not None:
        lines.append(_certified_line(rows, attacked_returns))
    alarms = [*_bound_alarms(members), *_attack_alarms(results)]
    return Words(alarms, [policy_table(rows, about)], [*lines, _seed_line(about)])


def attack_words(results: pl.DataFrame) -> Words:
    """The verdict on one policy pruned at several levels that was attacked only. results: as above."""
    rows, about = attacked_overview(results), _about(results)
    table = plain_table(f"mean return and 95 % interval, fresh episodes; {about['budget']}")
    for column in ("sparsity", "clean", "", "under attack", "", "strongest", "tried"):
        table.add_column(column, justify="right")
    for row in rows.iter_rows(named=True):
        returns = (
            text
            for name in ("clean", "attacked")
            for text in (number(row[name]), low_to_high(row[f"{name}_low"], row[f"{name}_high"]))
        )
        table.add_row(f"{row['sparsity']:.2f}", *returns, row["found_by"], str(row["attackers_tried"]))
    return Words(_attack_alarms(results), [table], [*_return_lines(rows, about), _seed_line(about)])


def overview(
    results: pl.DataFrame, members: pl.DataFrame, attacked_returns: pl.DataFrame | None
) -> pl.DataFrame:
    """The rows of `attacked_overview` with the bounds and the certified returns beside them."""
    rows = attacked_overview(results)
    for bound in BOUNDS:
        own = members.filter(pl.col("ball") == "own", pl.col("bound") == bound)
        rows = rows.join(own.select("member", pl.col("value").alias(bound)), on="member", how="left")
    if attacked_returns is not None:
        columns = [column for kind in KINDS for column in (kind.certified, kind.clean)]
        rows = rows.join(attacked_returns.select("member", *columns), on="member")
    return rows.sort("sparsity")


def attacked_overview(results: pl.DataFrame) -> pl.DataFrame:
    """A row per sparsity: `clean` and `attacked` with their intervals, `found_by`, `attackers_tried`.

    Returns are of fresh episodes; the strongest attack was chosen on others.
    """
    fresh = _fresh(results)
    worst = fresh.filter(pl.col("attack") == STRONGEST)
    rows = worst.select("member", "sparsity", "found_by", "attackers_tried")
    for name, attack in (("clean", CLEAN), ("attacked", STRONGEST)):
        of_attack = fresh.filter(pl.col("attack") == attack).select(
            "member",
            pl.col("return_mean").alias(name),
            pl.col("return_low").alias(f"{name}_low"),
            pl.col("return_high").alias(f"{name}_high"),
        )
        rows = rows.join(of_attack, on="member")
    return rows.sort("sparsity")


def policy_table(rows: pl.DataFrame, about: dict[str, Any]) -> Table:
    """Sparsity against returns, bounds and what is certified."""
    table = plain_table(f"one policy, pruned and not trained again; {about['budget']}")
    columns = {
        "clean": "clean\nreturn",
        "attacked": "under\nattack",
        "path": f"path bound\non {about['quantity']}",
        "crown": "CROWN\nbound",
    }
    if about["return_eps"] is not None:
        columns |= {
            "certified_mean": f"certified,\neps {about['return_eps']:g}",
            "certified_blocks": "certified\nby blocks",
        }
    for column in ("sparsity", *columns.values()):
        table.add_column(column, justify="right")
    table.add_column("strongest\nattack")
    for row in rows.iter_rows(named=True):
        table.add_row(f"{row['sparsity']:.2f}", *(number(row[name]) for name in columns), row["found_by"])
    return table


def _about(results: pl.DataFrame) -> dict[str, Any]:
    """What holds of all attacked rows."""
    attack = _fresh(results).filter(pl.col("attack") == STRONGEST).row(0, named=True)
    return {
        "budget": f"eps {attack['eps']:g}, {attack['norm']}, {attack['space']}",
        "episodes": attack["episodes"],
        "attacks": ", ".join(attacks_tried(results)),
    }


def _seed_line(about: dict[str, Any]) -> str:
    played = counted(about["episodes"], "episode")
    return f"one policy: intervals are over its {played}, and say nothing of other seeds"


def _fresh(results: pl.DataFrame) -> pl.DataFrame:
    return results.filter(pl.col("episode_set") == "fresh")


def _bound_alarms(members: pl.DataFrame) -> list[str]:
    """What makes bounds wrong."""
    violated = members["violated"].sum()
    said = f"WRONG: at {counted(violated, 'state')} an attack found more than a bound allows"
    return [said] if violated else []


def _attack_alarms(results: pl.DataFrame) -> list[str]:
    """What makes returns wrong."""
    outside = results["outside_ball"].sum()
    said = f"WRONG: {counted(outside, 'perturbation')} outside the ball: the attacked returns do not count"
    return [said] if outside else []


def _return_lines(rows: pl.DataFrame, about: dict[str, Any]) -> list[str]:
    """Where pruning costs nothing, where it helps, and whether it does both anywhere."""
    dense, pruned = rows.row(0, named=True), rows[1:]
    left = f"{number(dense['attacked'])} of {number(dense['clean'])}"
    by = f"the strongest of {about['attacks']}, chosen on other episodes"
    if pruned.is_empty():
        return [f"attacked: {by}, leaves {left}"]
    kept = pl.col("clean") >= dense["clean"] - LOSS * abs(dense["clean"])
    # One episode has no interval: null, which is neither higher nor lower.
    low, high = (pl.lit(dense[f"attacked_{end}"], pl.Float64) for end in ("low", "high"))
    higher, lower = pl.col("attacked_low") > high, pl.col("attacked_high") < low
    most, last = pruned.sort("attacked").row(-1, named=True), rows.row(-1, named=True)
    return [
        f"verdict: {_verdict(pruned.filter(kept), higher)}",
        f"clean: at least 95 % of the dense policy's {number(dense['clean'])} {_at(pruned.filter(kept))}; "
        f"{number(last['clean'])} at {last['sparsity']:.2f}",
        f"attacked: {by}, leaves {left} dense, and pruned at best {number(most['attacked'])} of "
        f"{number(most['clean'])} (at {most['sparsity']:.2f}); 95 % intervals apart from the dense one's: "
        f"higher {_at(pruned.filter(higher))}, lower {_at(pruned.filter(lower))}",
    ]


def _verdict(kept: pl.DataFrame, higher: pl.Expr) -> str:
    """kept: the pruned policies that have kept their clean return."""
    if kept.is_empty():
        return "every pruning costs more than 5 % of the clean return"
    if kept.filter(higher).is_empty():
        return "no pruning that keeps the clean return is shown to return more under these attacks"
    return (
        f"pruned {_at(kept.filter(higher))} the policy keeps its clean return, and returns more under these "
        "attacks"
    )


def _at(rows: pl.DataFrame) -> str:
    """At which sparsities."""
    return f"at {', '.join(f'{s:.2f}' for s in rows['sparsity'])}" if rows.height else "nowhere"


def _bound_lines(rows: pl.DataFrame, certificates: pl.DataFrame) -> list[str]:
    """What pruning did to the bounds."""
    dense, pruned, last = rows.row(0, named=True), rows[1:], rows.row(-1, named=True)
    raised = pruned.filter(pl.col("crown") > dense["crown"])
    crown = (
        f"CROWN: pruning raised the mean bound on how far the action can be moved {_at(raised)}; dense "
        f"{number(dense['crown'])}, {number(last['crown'])} at {last['sparsity']:.2f}"
    )
    return [theorem_line(certificates), *([crown] if pruned.height else [])]


def _certified_line(rows: pl.DataFrame, attacked_returns: pl.DataFrame) -> str:
    """What no attack at every step can take away: of the dense policy, and where it is most."""
    first = attacked_returns.row(0, named=True)
    about = (
        f"certified, eps {first['eps']:g} at every step, sampled actions, confidence {first['confidence']:g} "
        "of all together"
    )
    if attacked_returns.filter(leaves_something()).is_empty():
        return (
            f"{about}: less than {LEAST:.0%} of any clean mean; a smaller --return-eps or more "
            "--return-episodes may certify something"
        )
    kind = larger_kind(attacked_returns)
    dense, best = rows.row(0, named=True), rows.sort(kind.certified).row(-1, named=True)
    least, most = (f"{number(row[kind.certified])} of {number(row[kind.clean])}" for row in (dense, best))
    how = kind.how and f",{kind.how}"
    return (
        f"{about}{how}: {least} dense, at most {most} (at {best['sparsity']:.2f}); more is no proof of more "
        "return"
    )
