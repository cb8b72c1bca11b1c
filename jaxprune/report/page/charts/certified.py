"""Certified returns under attack at every step, against the radius of the ball."""

import polars as pl

from jaxprune.analysis import across_seeds, without_diverged
from jaxprune.report.attacked_returns import about_blocks, panels
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

_DASHES = {"clean": "dot", "clean by blocks": "dot", "certified": "solid", "certified by blocks": "dash"}
_OTHER_DASH = "dashdot"


def certified_chart(means: pl.DataFrame) -> Chart:
    """Clean, attacked and certified return against eps, means over seeds, one colour per sparsity.

    means: the table `attacked_returns` of a certification.
    """
    kept, first = without_diverged(means), means.row(0, named=True)
    arms = kept["arm"].unique(maintain_order=True).to_list()
    colors = sparsity_colors(kept["sparsity_asked"].unique().sort().to_list())
    drawn, blocks = panels(kept), about_blocks(kept)
    traces: list[Trace] = []
    told: list[str] = []
    for arm in arms:
        for place, (asked, color) in enumerate(colors.items()):
            rows = kept.filter(pl.col("arm") == arm, pl.col("sparsity_asked") == asked)
            for shown, column in drawn.items():
                estimates = across_seeds(rows, ["eps"], column)
                if estimates.is_empty():
                    continue
                sparsity = f"{asked:.2f}"
                name = named(arm, arms, f"{sparsity}, {shown}")
                traces.append(
                    line(
                        name,
                        estimates["eps"],
                        estimates["mean"],
                        color,
                        meta=tags(arm, shown=shown, sparsity=sparsity),
                        symbol=SYMBOLS[place % len(SYMBOLS)],
                        dash=_DASHES.get(shown, _OTHER_DASH),
                        hover="eps %{x:.4g}: %{y:.4g}",
                        **bars(estimates, color),
                    )
                )
                if shown == "certified":
                    told.append(f"{named(arm, arms, f'sparsity {sparsity}')} {from_to(estimates, 'eps')}")
    return Chart(
        "certified",
        "Certified return against eps",
        f"Certified mean of max(R, {first['lowest']:g}) against eps: {listed(told)}.",
        f"Policies that draw their actions, attacked at every step; {first['norm']} norm, {first['space']} "
        f"observations; limits hold together with confidence {first['confidence']:g}. Under MAD is an "
        "estimate: no attacker was searched for." + (blocks and f" Certified and clean {blocks}."),
        traces,
        {
            "xaxis": {"title": {"text": f"eps ({first['norm']}, {first['space']})"}},
            "yaxis": {"title": {"text": "mean return per episode"}},
        },
        (
            Choice("shown", "show", all=True, first="certified"),
            Choice("sparsity", "sparsity", all=True),
            Choice("arm", "arm", all=True),
        ),
    )
