"""Where the return is lost: the three terms of the regret."""

import polars as pl

from jaxprune.analysis import STRONGEST, without_diverged
from jaxprune.report.budgets import budgets
from jaxprune.report.lines import by_sparsity
from jaxprune.report.numbers import number
from jaxprune.report.page.charts.chart import (
    BLUE,
    INK,
    ORANGE,
    VERMILLION,
    Chart,
    Choice,
    Trace,
    bars,
    line,
    listed,
    named,
    rounded,
    tags,
    text,
)

TERMS = {
    "clean_regret": ("clean regret: best known - dense", BLUE, ""),
    "pruning_loss": ("pruning loss: dense - pruned", ORANGE, "/"),
    "robustness_gap": ("robustness gap: pruned - pruned under attack", VERMILLION, "x"),
}
"""Name, colour and pattern of each, from the bottom of the stack to its top."""


def regret_chart(regret: pl.DataFrame) -> Chart:
    """The terms under the strongest attack, stacked, and their sum with its interval.

    regret: by `decompose`, of all arms, each member with a dense twin.
    """
    rows = without_diverged(regret.filter(pl.col("attack") == STRONGEST)).drop_nulls("pruning_loss")
    arms = rows["arm"].unique(maintain_order=True).to_list()
    traces: list[Trace] = []
    told: list[str] = []
    for name, budget in budgets(rows).items():
        for arm in arms:
            own = rows.filter(budget, pl.col("arm") == arm)
            total = by_sparsity(own, "total")
            places = [f"{sparsity:.2f}" for sparsity in total["sparsity"]]
            for term, (label, color, pattern) in TERMS.items():
                traces.append(
                    {
                        "type": "bar",
                        "name": text(label),
                        "x": places,
                        "y": rounded(by_sparsity(own, term)["mean"]),
                        "meta": tags(arm, budget=name),
                        "marker": {"color": color, "pattern": {"shape": pattern, "solidity": 0.25}},
                        "hovertemplate": f"<b>{text(label)}</b><br>%{{x}}: %{{y:.4g}}<extra></extra>",
                    }
                )
            sum_of_terms = line(
                "total: best known - pruned under attack",
                (),
                total["mean"],
                INK,
                meta=tags(arm, budget=name),
                symbol="diamond-open",
                hover="sparsity %{x}: %{y:.4g}",
                **bars(total, INK),
            )
            traces.append(sum_of_terms | {"x": places, "mode": "markers"})
            least = total.sort("mean", maintain_order=True).row(0, named=True)
            told.append(
                f"{named(arm, arms, name)}: the total is smallest at sparsity {least['sparsity']:.2f}, "
                f"{number(least['mean'])}"
            )
    return Chart(
        "regret",
        "Where the return is lost",
        f"Three terms of the regret, stacked, at each sparsity. {listed(told)}.",
        "Strongest attack of each member; terms below zero are stacked downwards; bars of the total: 95 % "
        "Student t interval over seeds.",
        traces,
        {
            "barmode": "relative",
            "xaxis": {"title": {"text": "sparsity"}, "type": "category"},
            "yaxis": {"title": {"text": "regret (return per episode)"}},
        },
        (Choice("budget", "eps"), Choice("arm", "arm")),
    )
