"""Several runs beside each other."""

from collections.abc import Sequence

import polars as pl

from jaxprune.analysis import STRONGEST, without_diverged
from jaxprune.report.budgets import budgets
from jaxprune.report.lines import by_sparsity
from jaxprune.report.page.charts.chart import (
    DASHES,
    HUES,
    SYMBOLS,
    Chart,
    Choice,
    Trace,
    bars,
    from_to,
    line,
    listed,
    tags,
)
from jaxprune.report.page.run import Run
from jaxprune.report.page.story import Story


def comparison_chart(runs: Sequence[Run]) -> Chart | None:
    """Attacked and clean return of every run against sparsity, means over seeds; None without any."""
    traces: list[Trace] = []
    told: list[str] = []
    for place, run in enumerate(runs):
        if not run.has("regret"):
            continue
        rows = without_diverged(run.tables["regret"].filter(pl.col("attack") == STRONGEST))
        for name, budget in budgets(rows).items():
            for arm, dash in zip(rows["arm"].unique(maintain_order=True), DASHES * rows.height, strict=False):
                own = rows.filter(budget, pl.col("arm") == arm)
                for what in ("attacked", "clean"):
                    estimates = by_sparsity(own, f"{what}_return")
                    if estimates.is_empty():
                        continue
                    label, color = f"{run.name}, {arm}, {name}", HUES[place % len(HUES)]
                    traces.append(
                        line(
                            label,
                            estimates["sparsity"],
                            estimates["mean"],
                            color,
                            meta=tags(arm, shown=what, run=run.name, budget=name),
                            symbol=SYMBOLS[place % len(SYMBOLS)],
                            dash=dash,
                            hover="sparsity %{x:.2f}: %{y:.4g}",
                            **bars(estimates, color),
                        )
                    )
                    told.append(f"{label}, {what} {from_to(estimates)}")
    if not traces:
        return None
    return Chart(
        "comparison",
        "The runs beside each other",
        f"Mean return against sparsity: {listed(told)}.",
        "Means over seeds under the strongest attack that each run chose, or clean; bars: 95 % Student t "
        "interval. Runs of different tasks or search efforts are not comparable.",
        traces,
        {
            "xaxis": {"title": {"text": "sparsity"}},
            "yaxis": {"title": {"text": "mean return per episode"}},
        },
        (
            Choice("shown", "return"),
            Choice("run", "run", all=True),
            Choice("budget", "eps", all=True),
            Choice("arm", "arm", all=True),
        ),
    )


def comparison_rows(told: Sequence[tuple[Run, Story]]) -> list[tuple[str, str, int, str]]:
    """Of every run: its name, what was asked, how many warnings there are, and the first thing it found."""
    return [
        (run.name, "; ".join(story.asked), len(story.warnings), next(iter(story.lines), "nothing yet"))
        for run, story in told
    ]
