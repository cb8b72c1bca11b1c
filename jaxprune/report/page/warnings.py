"""What a reader must know before anything else, beside the alarms: what is missing, vacuous or too little."""

import polars as pl

from jaxprune.report.page.run import ATTACK, AUDIT, CERTIFY, SHIFT, SWEEP, Run

RESUME = {SWEEP: "sweep", ATTACK: "attack", CERTIFY: "certify", AUDIT: "audit"}
"""The commands that can go on."""


def incomplete(run: Run) -> list[str]:
    """Tables that are not there, cannot be read, or have no rows."""
    lines = []
    if run.empty:
        lines.append(f"EMPTY: no rows are in {', '.join(run.empty)} (written by {run.author})")
    if run.missing:
        if "merged" in run.about or run.kind == SHIFT:
            advice = "run the command again"
        else:
            advice = f"go on with python -m experiments.{RESUME[run.kind]} --resume {run.name}"
        lines.append(f"INCOMPLETE: not there are {', '.join(run.missing)}; {advice}")
    if run.unreadable:
        lines.append(f"DAMAGED: cannot be read: {', '.join(run.unreadable)} (written by {run.author})")
    return lines


def vacuous(certificates: pl.DataFrame) -> list[str]:
    """How many of the bounds on value are."""
    told = certificates.filter(pl.col("quantity") == "return", ~pl.col("diverged"))
    count = int(told["vacuous"].sum())
    if not count:
        return []
    names = ", ".join(told.filter("vacuous")["bound"].unique().sort())
    what = f"{count} of {told.height} bounds on value ({names})"
    return [f"VACUOUS: {what} say nothing, for they exceed all that can be lost"]


def weak_attacks(attacks: list[str]) -> list[str]:
    """Whether anybody searched for an attacker: the rules of a sweep that are made for no victim are weak."""
    if not attacks:
        return ["NO ATTACK: nobody attacked, so nothing is said of returns under attack"]
    return [
        f"SHORT SEARCH: only {', '.join(attacks)} attacked, and no attacker was trained for any member, so "
        "that stronger ones may exist; python -m experiments.attack --run searches harder"
    ]


def few_seeds(verdicts: pl.DataFrame) -> list[str]:
    """How many verdicts there are too few seeds for."""
    asked = verdicts.filter(~pl.col("placebo")) if "placebo" in verdicts.columns else verdicts
    undecided = asked.filter(pl.col("verdict").str.starts_with("undecided"))
    if undecided.is_empty():
        return []
    reasons = ", ".join(undecided["verdict"].str.strip_prefix("undecided ").unique().sort())
    return [f"TOO FEW SEEDS: {undecided.height} of {asked.height} comparisons are undecided {reasons}"]
