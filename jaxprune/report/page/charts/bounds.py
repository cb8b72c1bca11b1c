"""Bounds against sparsity: the monotone one beside the tight one and what an attack found; and all others."""

import polars as pl

from jaxprune.analysis import distance_quantity, smallest_bound, without_diverged
from jaxprune.report.budgets import budgets
from jaxprune.report.figures import QUANTITIES
from jaxprune.report.lines import by_sparsity
from jaxprune.report.page.charts.chart import (
    BLUE,
    HUES,
    INK,
    SYMBOLS,
    VERMILLION,
    Chart,
    Choice,
    Trace,
    bars,
    from_to,
    line,
    listed,
    named,
    tags,
)

PAIR, EVERY = "the pair", "every bound"


def bounds_chart(certificates: pl.DataFrame) -> Chart:
    """Every bound on the policies' distance, means over seeds, on a log scale.

    certificates: of the schema `CERTIFICATES`, or `at_the_same_states` of one ball; of all arms.
    """
    distance = _distance(certificates)
    kept = without_diverged(certificates).filter(pl.col("quantity") == distance)
    drawn = kept.filter(pl.col("value").is_finite(), pl.col("value") > 0)
    arms = kept["arm"].unique(maintain_order=True).to_list()
    what, _, unit = QUANTITIES[distance].partition("\n")
    traces: list[Trace] = []
    told: list[str] = []
    for name, budget in budgets(kept).items():
        for arm in arms:
            own = drawn.filter(budget, pl.col("arm") == arm)
            sound = own.filter(kind="bound")
            pair = {
                "smallest monotone": (smallest_bound(own.filter("monotone"), distance), VERMILLION, "solid"),
                "tightest": (smallest_bound(own, distance), BLUE, "dash"),
                "largest found by an attack": (own.filter(kind="estimate"), INK, "dot"),
            }
            meta = tags(arm, budget=name, shown=PAIR)
            for label, (rows, color, dash) in pair.items():
                estimates = by_sparsity(rows, "value")
                if estimates.is_empty():
                    continue
                told.append(f"{named(arm, arms, label)}, {name}, {from_to(estimates)}")
                traces.append(_line(named(arm, arms, label), estimates, color, meta, dash=dash, width=3.0))
            meta = tags(arm, budget=name, shown=EVERY)
            for place, bound in enumerate(sound["bound"].unique().sort()):
                rows = sound.filter(bound=bound)
                style = {"dash": "solid" if rows["monotone"][0] else "dash", "symbol": SYMBOLS[place % 8]}
                traces.append(_line(bound, by_sparsity(rows, "value"), HUES[place % 8], meta, **style))
            found = by_sparsity(own.filter(kind="estimate"), "value")
            if found.height:
                traces.append(_line("found by an attack", found, INK, meta, dash="dot"))
    return Chart(
        "bounds",
        "Bounds: monotone beside tight",
        f"Bounds on the {what} against sparsity: {listed(told)}.",
        "Solid: monotone, no mask can raise it (the theorem). Dashed: tighter, and pruning may raise it. "
        "Dotted: the largest distance an attack found, below which no sound bound may lie. Means over seeds; "
        f"bars: 95 % Student t interval. {unit}",
        traces,
        {
            "xaxis": {"title": {"text": "sparsity"}},
            "yaxis": {
                "title": {"text": what},
                "type": "log",
                "dtick": "D2",
            },
        },
        (Choice("shown", "bounds", first=PAIR), Choice("budget", "eps"), Choice("arm", "arm")),
    )


def _distance(certificates: pl.DataFrame) -> str:
    """What the bounds are on: of audits, where all have one unit, that one."""
    only = certificates["quantity"].unique()
    return only[0] if len(only) == 1 else distance_quantity(certificates)


def _line(name: str, estimates: pl.DataFrame, color: str, meta: dict[str, str], **style: object) -> Trace:
    hover = "sparsity %{x:.2f}: %{y:.4g}"
    # Below zero, where an interval of few seeds may reach, a log scale has no place.
    cut = pl.max_horizontal("low", pl.col("mean") * 0.05)
    # One seed has no interval.
    positive = estimates.with_columns(low=pl.when(pl.col("low").is_finite()).then(cut))
    x, y = estimates["sparsity"], estimates["mean"]
    return line(name, x, y, color, meta=meta, hover=hover, **style, **bars(positive, color))  # pyright: ignore[reportArgumentType]
