"""Learning curves: return and sparsity during training."""

import polars as pl

from jaxprune.report.lines import seed_range, smoothed
from jaxprune.report.numbers import number
from jaxprune.report.page.charts.chart import (
    Chart,
    Choice,
    Trace,
    line,
    listed,
    named,
    rounded,
    sparsity_colors,
    tags,
)

POINTS, POINTS_OF_ALL = 150, 12_000
"""Of a line, and of the returns of all lines together, at most: more are not seen."""

RETURN, SPARSITY = "return", "sparsity"


def training_chart(curves: pl.DataFrame) -> Chart:
    """Means over seeds of the running mean of the return, from the lowest seed to the highest as a band."""
    curves, window = smoothed(curves)
    arms = curves["arm"].unique(maintain_order=True).to_list()
    asked = curves["sparsity_asked"].unique().sort().to_list()
    several = curves["seed"].n_unique() > 1
    most = max(10, min(POINTS, POINTS_OF_ALL // (len(arms) * len(asked))))
    traces: list[Trace] = []
    told: list[str] = []
    for arm in arms:
        for sparsity, color in sparsity_colors(asked).items():
            rows = curves.filter(pl.col("arm") == arm, pl.col("sparsity_asked") == sparsity)
            for shown, column in ((RETURN, "return_mean"), (SPARSITY, "sparsity")):
                points = _thinned(seed_range(rows, column), most)
                if points.is_empty():
                    continue
                meta = tags(arm, shown=shown)
                steps, name = points["env_steps"], f"sparsity {sparsity:.2f}"
                if several and shown == RETURN:
                    traces.append(_band(points, color, meta, name))
                hover = "%{x:.3s} steps: %{y:.4g}"
                own = line(name, steps, points["mean"], color, meta=meta, hover=hover, legendgroup=name)
                traces.append(own | {"mode": "lines"})
                if shown == RETURN:
                    told.append(f"{named(arm, arms, name)} ends at {number(points['mean'][-1])}")
    caption = "Means over seeds" + ("; bands: from the lowest seed to the highest" if several else "")
    if window > 1:
        caption += f"; running means of {window} iterations"
    iterations = curves["iteration"].n_unique()
    if iterations >= 2 * most:
        caption += (
            f"; one in {iterations // most} of the {iterations} iterations is drawn, all are in curves.csv"
        )
    return Chart(
        "training",
        "Learning curves",
        f"Mean return of training episodes against environment steps: {listed(told)}.",
        caption + ".",
        traces,
        {
            "xaxis": {"title": {"text": "environment steps per member"}, "tickformat": "~s"},
            "yaxis": {"title": {"text": "return of training episodes, or sparsity"}},
        },
        (Choice("shown", "show", first=RETURN), Choice("arm", "arm")),
    )


def _thinned(points: pl.DataFrame, most: int) -> pl.DataFrame:
    """Every n-th point and the last, about so many."""
    step = max(1, points.height // most)
    return points.with_row_index().filter(
        (pl.col("index") % step == 0) | (pl.col("index") == points.height - 1)
    )


def _band(points: pl.DataFrame, color: str, meta: dict[str, str], group: str) -> Trace:
    there = [*points["env_steps"], *points["env_steps"].reverse()]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": rounded(there),
        "y": rounded([*points["high"], *points["low"].reverse()]),
        "fill": "toself",
        "fillcolor": color,
        "opacity": 0.15,
        "line": {"width": 0, "color": color},
        "meta": meta,
        "legendgroup": group,
        "showlegend": False,
        "hoverinfo": "skip",
    }
