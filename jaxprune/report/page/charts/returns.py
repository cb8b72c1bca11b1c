"""Returns against sparsity, by attack and arm; and the frontier of clean and attacked return."""

import polars as pl

from jaxprune.analysis import CLEAN, strongest, without_diverged
from jaxprune.report.budgets import budgets
from jaxprune.report.lines import by_sparsity
from jaxprune.report.numbers import counted
from jaxprune.report.page.charts.chart import (
    DASHES,
    HUES,
    INK,
    SYMBOLS,
    VERMILLION,
    Chart,
    Choice,
    Trace,
    bars,
    from_to,
    last_seed,
    limits,
    line,
    listed,
    named,
    rounded,
    sparsity_colors,
    tags,
    text,
)

STRONGEST = "strongest attack"
SPARSITY = "sparsity"


def returns_chart(results: pl.DataFrame) -> Chart:
    """Raw returns, means over seeds with Student's intervals, and every seed beside them.

    results: of the schema `RESULTS`, of all arms.
    """
    results = without_diverged(results)
    arms = results["arm"].unique(maintain_order=True).to_list()
    attacked = results.filter(pl.col("attack") != CLEAN)
    attacks = attacked["attack"].unique().sort().to_list()
    worst = strongest(results)
    last, left_out = last_seed(results, results.height + worst.height)
    traces: list[Trace] = []
    told: list[str] = []
    ends: list[pl.DataFrame] = []
    for arm, dash in zip(arms, DASHES * len(arms), strict=False):
        own, own_worst = results.filter(arm=arm), worst.filter(arm=arm)
        clean = own.filter(attack=CLEAN)
        shown = _with_seeds(named(arm, arms, "clean"), clean, INK, "circle", dash, tags(arm), last)
        traces += shown
        ends.append(by_sparsity(clean, "return_mean"))
        told.append(f"{named(arm, arms, 'clean')} {from_to(ends[-1])}")
        for name, budget in budgets(attacked).items():
            rows = own_worst.filter(budget)
            tagged = tags(arm, budget=name, attack=STRONGEST)
            traces += _with_seeds(named(arm, arms, STRONGEST), rows, VERMILLION, "circle", dash, tagged, last)
            ends.append(by_sparsity(rows, "return_mean"))
            told.append(f"{named(arm, arms, STRONGEST)}, {name}, {from_to(ends[-1])}")
            for place, attack in enumerate(attacks):
                rows = own.filter(budget, pl.col("attack") == attack)
                style = (HUES[place % len(HUES)], SYMBOLS[place % len(SYMBOLS)], dash)
                tagged = tags(arm, budget=name, attack=attack)
                traces += _with_seeds(named(arm, arms, attack), rows, *style, tagged, last)
    spread = pl.concat(ends)
    seeds, episodes = results["seed"].n_unique(), results["episodes"].max()
    interval, of = "one seed, so no interval; ", "means of"
    if seeds > 1:
        interval, of = "bars: 95 % Student t interval over seeds; ", f"means over {seeds} seeds, each of"
    return Chart(
        "returns",
        "Return against sparsity",
        f"Mean return against sparsity: {listed(told)}.",
        f"Raw undiscounted returns, {of} {counted(episodes, 'episode')}; {interval}small "
        "points: every seed. The strongest attack was chosen on other episodes. Click a name to hide a line."
        + left_out,
        traces,
        {
            "xaxis": {"title": {"text": SPARSITY}},
            "yaxis": {
                "title": {"text": "mean return per episode"},
                "range": limits(results["return_mean"], spread["low"], spread["high"]),
            },
        },
        (
            Choice("attack", "attack", all=True),
            Choice("budget", "eps"),
            Choice("arm", "arm", all=True),
        ),
    )


def _with_seeds(
    name: str, rows: pl.DataFrame, color: str, symbol: str, dash: str, meta: dict[str, str], last: int
) -> list[Trace]:
    """The line of means, and every seed up to the last as a small point."""
    if rows.is_empty():
        return []
    estimates = by_sparsity(rows, "return_mean")
    width = 3.0 if color in (INK, VERMILLION) else 1.5
    group = {"legendgroup": text(name)}
    mean = line(
        name,
        estimates["sparsity"],
        estimates["mean"],
        color,
        meta=meta,
        symbol=symbol,
        dash=dash,
        width=width,
        hover="sparsity %{x:.2f}: return %{y:.4g}",
        **group,
        **bars(estimates, color),
    )
    rows = rows.filter(pl.col("seed") <= last).sort("sparsity_asked", "seed")
    seeds = {
        "type": "scatter",
        "mode": "markers",
        "name": text(name),
        "showlegend": False,
        "x": rounded(rows["sparsity"]),
        "y": rounded(rows["return_mean"]),
        "text": [f"seed {seed}, member {member}" for seed, member in rows.select("seed", "member").rows()],
        "meta": meta,
        "marker": {"color": color, "symbol": symbol, "size": 4},
        "opacity": 0.4,
        "hovertemplate": f"<b>{text(name)}</b><br>%{{text}}: %{{y:.4g}}<extra></extra>",
        **group,
    }
    return [mean, seeds]


def frontier_chart(regret: pl.DataFrame) -> Chart:
    """Attacked against clean return: one point per sparsity, and every member as a small point.

    regret: by `decompose`, of all arms.
    """
    rows = without_diverged(regret.filter(pl.col("attack") == "strongest"))
    arms = rows["arm"].unique(maintain_order=True).to_list()
    colors = sparsity_colors(rows["sparsity_asked"].unique().sort().to_list())
    last, left_out = last_seed(rows, rows.height)
    traces: list[Trace] = []
    told: list[str] = []
    for name, budget in budgets(rows).items():
        for arm, symbol in zip(arms, ("circle", *SYMBOLS) * len(arms), strict=False):
            own = rows.filter(budget, pl.col("arm") == arm).sort("sparsity_asked", "seed")
            if own.is_empty():
                continue
            clean, attacked = (by_sparsity(own, f"{what}_return") for what in ("clean", "attacked"))
            best = attacked.sort("mean", descending=True, maintain_order=True).row(0, named=True)
            told.append(
                f"{named(arm, arms, name)}: the largest mean return under attack, {best['mean']:.4g}, is at "
                f"sparsity {best['sparsity']:.2f}"
            )
            drawn = colors, tags(arm, budget=name), symbol
            traces += [
                _means_over_seeds(named(arm, arms, "means over seeds"), clean, attacked, *drawn),
                _single_members(named(arm, arms, "members"), own.filter(pl.col("seed") <= last), *drawn),
            ]
    return Chart(
        "frontier",
        "Clean and attacked return: the frontier",
        f"Return under the strongest attack against clean return. {listed(told)}.",
        "Up and to the right is better. The number beside a large point is its sparsity; small points are "
        f"single members.{left_out}",
        traces,
        {
            "xaxis": {"title": {"text": "clean return"}},
            "yaxis": {"title": {"text": "return under the strongest attack"}},
        },
        (Choice("budget", "eps"), Choice("arm", "arm", all=True)),
    )


def _means_over_seeds(
    name: str,
    clean: pl.DataFrame,
    attacked: pl.DataFrame,
    colors: dict[float, str],
    meta: dict[str, str],
    symbol: str,
) -> Trace:
    """A large point for each sparsity, with its number beside it, joined in their order."""
    drawn = line(
        name,
        clean["mean"],
        attacked["mean"],
        INK,
        meta=meta,
        width=1.0,
        hover="sparsity %{text}<br>clean %{x:.4g}, attacked %{y:.4g}",
    )
    above_and_below = ("top center", "bottom center") * clean.height
    return drawn | {
        "mode": "lines+markers+text",
        "text": [f"{sparsity:.2f}" for sparsity in clean["sparsity"]],
        "textposition": above_and_below[: clean.height],
        "marker": {
            "color": [colors[asked] for asked in clean["sparsity_asked"]],
            "symbol": symbol,
            "size": 13,
        },
    }


def _single_members(
    name: str, rows: pl.DataFrame, colors: dict[float, str], meta: dict[str, str], symbol: str
) -> Trace:
    """A small point for each member."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": text(name),
        "x": rounded(rows["clean_return"]),
        "y": rounded(rows["attacked_return"]),
        "text": [
            f"member {member}, seed {seed}, sparsity {sparsity:.2f}"
            for member, seed, sparsity in rows.select("member", "seed", "sparsity").rows()
        ],
        "meta": meta,
        "marker": {"color": [colors[asked] for asked in rows["sparsity_asked"]], "symbol": symbol, "size": 5},
        "opacity": 0.55,
        "hovertemplate": "%{text}<br>clean %{x:.4g}, attacked %{y:.4g}<extra></extra>",
    }
