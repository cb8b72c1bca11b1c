"""How the strongest attacker depends on how hard it was looked for."""

import polars as pl

from jaxprune.report.numbers import number
from jaxprune.report.page.charts.chart import HUES, SYMBOLS, Chart, Choice, Trace, bars, line, listed

MOST_MEMBERS = 40
"""With a line of their own, at most: more are not told apart."""


def effort_chart(effort: pl.DataFrame) -> Chart:
    """The strongest adversary against the steps of its training: a line per member, dotted beyond.

    effort: of the schema `EFFORT`.
    """
    traces: list[Trace] = []
    told: list[str] = []
    members, left_out = effort["member"].unique().sort(), ""
    if len(members) > MOST_MEMBERS:
        left_out = f" The first {MOST_MEMBERS} of {len(members)} members; all are in effort.csv."
        effort = effort.filter(pl.col("member") <= members[MOST_MEMBERS - 1])
    for (attack,), rows in effort.group_by("attack", maintain_order=True):
        for (member,), own in rows.sort("steps").group_by("member", maintain_order=True):
            place = int(str(member)) % len(HUES)
            points = own.rename({"return_low": "low", "return_high": "high", "return_mean": "mean"})
            found = points.filter(~pl.col("extrapolated"))
            style = {
                "meta": {"attack": str(attack)},
                "symbol": SYMBOLS[place],
                "legendgroup": f"member {member}",
            }
            hover, name = "%{x:.3s} steps: %{y:.4g}", f"member {member}"
            color = HUES[place]
            steps = found["steps"]
            traces.append(line(name, steps, found["mean"], color, hover=hover, **style, **bars(found, color)))
            beyond = points.tail(2)
            if beyond["extrapolated"].any():
                more = {"dash": "dot", "showlegend": False}
                traces.append(
                    line(name, beyond["steps"], beyond["mean"], color, hover=hover, **style, **more)
                )
            first, last = found["mean"][0], found["mean"][-1]
            told.append(f"{attack} on member {member} {number(first)} to {number(last)}")
    return Chart(
        "effort",
        "Strongest adversary against its training",
        f"Mean return under the strongest adversary, from short training to long: {listed(told)}.",
        "Each found by halving: chosen on one half of a rung's episodes, measured on the other; bars: 95 % "
        f"of resamples of the settings tried; dotted: if another doubling brings its share.{left_out}",
        traces,
        {
            "xaxis": {
                "title": {"text": "environment steps per adversary"},
                "type": "log",
                "dtick": "D2",
                "tickformat": "~s",
            },
            "yaxis": {"title": {"text": "mean return per episode"}},
        },
        (Choice("attack", "attack"),),
    )


def tried_chart(tried: pl.DataFrame, sparsity: dict[int, float]) -> Chart:
    """The lowest mean return of the first k attackers tried, mean over the members of a sparsity.

    tried: of an attack search. sparsity: of every member.
    """
    levels = sorted(set(sparsity.values()))
    several = tried.filter(pl.col("attacker").max().over("attack") > 0)
    tried = several if several.height else tried  # one attacker makes no line
    of = pl.col("member").replace_strict(sparsity, return_dtype=pl.Float64)
    means = (
        tried.with_columns(sparsity=of)
        .group_by("attack", "sparsity", "attacker")
        .agg(pl.mean("best_of_first"))
        .sort("attack", "sparsity", "attacker")
    )
    traces: list[Trace] = []
    told: list[str] = []
    for (attack,), rows in means.group_by("attack", maintain_order=True):
        for place, level in enumerate(levels):
            own = rows.filter(sparsity=level)
            if own.is_empty():
                continue
            name, count = f"sparsity {level:.2f}", own["attacker"] + 1
            traces.append(
                line(
                    name,
                    count,
                    own["best_of_first"],
                    HUES[place % len(HUES)],
                    meta={"attack": str(attack)},
                    symbol=SYMBOLS[place % len(SYMBOLS)],
                    hover="first %{x}: %{y:.4g}",
                )
            )
            best = own["best_of_first"]
            told.append(f"{attack} at {level:.2f} {number(best[0])} to {number(best[-1])}")
    return Chart(
        "tried",
        "Strongest attacker of the first few",
        f"Lowest mean return of the first attackers tried, from one to all: {listed(told)}.",
        "On the episodes that chose (of its last rung, where an attacker was stopped at one), so that the "
        "lowest of many is too low; means over the members of a sparsity. Still falling at the right end: "
        "more attackers would find more.",
        traces,
        {
            "xaxis": {"title": {"text": "attackers tried"}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": "lowest mean return so far"}},
        },
        (Choice("attack", "attack"),),
    )
