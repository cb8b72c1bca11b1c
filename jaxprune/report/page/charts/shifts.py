"""Return under shifted dynamics."""

import polars as pl

from jaxprune.analysis import JOINT, NOMINAL, across_seeds, without_diverged
from jaxprune.report.page.charts.chart import (
    SYMBOLS,
    Chart,
    Choice,
    Trace,
    bars,
    from_to,
    line,
    listed,
    named,
    sparsity_colors,
    tags,
)


def shifts_chart(shifts: pl.DataFrame) -> Chart:
    """Return against the factor of one parameter, means over seeds, one line per sparsity asked.

    shifts: of the schema `SHIFTS`.
    """
    rows = without_diverged(shifts).filter(~pl.col("parameter").is_in([NOMINAL, JOINT]))
    arms = rows["arm"].unique(maintain_order=True).to_list()
    colors = sparsity_colors(rows["sparsity_asked"].unique().sort().to_list())
    traces: list[Trace] = []
    told: list[str] = []
    for parameter in rows["parameter"].unique(maintain_order=True):
        for arm in arms:
            for place, (asked, color) in enumerate(colors.items()):
                here = rows.filter(
                    pl.col("parameter") == parameter, pl.col("arm") == arm, pl.col("sparsity_asked") == asked
                )
                estimates = across_seeds(here, ["factor"], "return_mean")
                if estimates.is_empty():
                    continue
                name = named(arm, arms, f"sparsity {asked:.2f}")
                x, y = estimates["factor"], estimates["mean"]
                meta, symbol = tags(arm, parameter=parameter), SYMBOLS[place % len(SYMBOLS)]
                hover = f"{parameter} x %{{x:.3g}}: %{{y:.4g}}"
                spread = bars(estimates, color)
                traces.append(line(name, x, y, color, meta=meta, symbol=symbol, hover=hover, **spread))
                told.append(f"{parameter}, {name}, {from_to(estimates, 'factor')}")
    return Chart(
        "shifts",
        "Return under shifted dynamics",
        f"Mean return against the factor of a parameter: {listed(told)}.",
        "Clean episodes of deterministic policies; means over seeds, bars: 95 % Student t interval; joint "
        "draws are not shown.",
        traces,
        {
            "xaxis": {"title": {"text": "factor"}, "type": "log"},
            "yaxis": {"title": {"text": "mean return per episode"}},
        },
        (Choice("parameter", "parameter"), Choice("arm", "arm", all=True)),
    )
