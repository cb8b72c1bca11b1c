"""What shifted dynamics did to a population: one figure, tables and sentences; the same on one screen."""

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from rich.table import Table

from jaxprune.analysis import (
    DEFAULT_INTERVAL,
    JOINT,
    NOMINAL,
    Student,
    across_seeds,
    validate,
    without_diverged,
)
from jaxprune.report.console import plain_table
from jaxprune.report.numbers import family_wise, low_to_high, number, signed
from jaxprune.report.style import Label, label_line_ends, panel_grid, styled
from jaxprune.report.words import Words

_COLUMNS = ("nominal", "mean", "quantile_10", "worst")


@styled
def shifts_figure(shifts: pl.DataFrame, title: str, panel: tuple[float, float] = (5.6, 3.8)) -> Figure:
    """Return against the factor, one panel of `panel` inches per parameter and one line per sparsity asked.

    Lines are means over seeds. Joint draws have no factor and are not shown; diverged members are left out.

    Raises:
        ValueError: the table is malformed, or nothing in it is on an axis.
    """
    validate(shifts, "shifts")
    axes_rows = without_diverged(shifts).filter(~pl.col("parameter").is_in([NOMINAL, JOINT]))
    parameters = axes_rows["parameter"].unique(maintain_order=True)
    seeds, episodes = axes_rows["seed"].n_unique(), axes_rows["episodes"].max()
    of_seeds = f"mean over {seeds} seeds, each" if seeds > 1 else "each"
    played = "1 episode" if episodes == 1 else f"{episodes} episodes"
    figure, panels = panel_grid(
        "Return under shifted dynamics",
        title,
        f"sparsity at the line's end; {of_seeds} the mean of {played}; joint draws are not shown",
        {parameter: axes_rows.filter(parameter=parameter) for parameter in parameters},
        panel,
    )
    asked = axes_rows["sparsity_asked"].unique().sort()
    # The last sixth of the colour map is too light for lines on white.
    colors = colormaps["viridis"](np.linspace(0.0, 0.84, len(asked)))
    ends = []
    for axes, rows in panels:
        factors = rows["factor"].unique().sort().to_list()
        axes.set(xscale="log", xlabel="factor", ylabel="mean return per episode")
        axes.set_xticks(factors, [f"{factor:g}" for factor in factors])
        axes.xaxis.set_minor_formatter(NullFormatter())
        labels = []
        for sparsity, color in zip(asked, colors, strict=True):
            line = across_seeds(rows.filter(sparsity_asked=sparsity), ["factor"], "return_mean")
            axes.plot(line["factor"], line["mean"], color=color, marker="o", label=f"{sparsity:.2f}")
            factor, height = line.select("factor", "mean").row(-1)
            labels.append(Label(f"{sparsity:.2f}", factor, height, color))
        ends.append((axes, labels))
    for axes, labels in ends:
        label_line_ends(axes, labels)
    return figure


def shift_words(
    shifts: pl.DataFrame,
    summary: pl.DataFrame,
    verdicts: pl.DataFrame,
    interval: Student = DEFAULT_INTERVAL,
    *,
    alpha: float = 0.05,
) -> Words:
    """Who diverged, the returns by sparsity, the differences to the dense twins, and what failed.

    All tables are of one arm. verdicts: by `shift_verdicts`, of family-wise error alpha over all arms. Means
    are over seeds, with Student's interval below them when there are several; members that have diverged are
    in none of them.
    """
    kept, tables, lines = without_diverged(summary), [], []
    if kept.height:
        tables.append(_returns(kept, interval))
    if verdicts.height:
        tables.append(_differences(verdicts))
        lines.append(
            f"{family_wise(alpha)} over all arms, sparsities and both numbers; the worst of many "
            "means is too low, for a member and its dense twin alike"
        )
    return Words(_diverged(summary), tables, [*lines, *_failures(shifts)])


def shift_screen_words(
    shifts: pl.DataFrame, summary: pl.DataFrame, verdicts: pl.DataFrame, *, alpha: float
) -> Words:
    """The same of all arms on one screen: who diverged, what is shown of which arm, and one table."""
    arms = summary["arm"].unique(maintain_order=True).to_list()
    lines = [
        _verdict_line("shifted dynamics" if len(arms) == 1 else f"{arm}, shifted dynamics", own, alpha)
        for arm in arms
        if (own := verdicts.filter(pl.col("arm") == arm)).height
    ]
    kept = without_diverged(summary)
    tables = [_screen_table(kept, verdicts, arms)] if kept.height else []
    return Words(_diverged(summary), tables, [*lines, *_failures(shifts)])


def _diverged(summary: pl.DataFrame) -> list[str]:
    return [
        f"DIVERGED: member {member}, left out of means and verdicts"
        for member in summary.filter("diverged")["member"]
    ]


def _failures(shifts: pl.DataFrame) -> list[str]:
    played = shifts.unique(["member", "point"])
    failed, total = played["failed"].sum(), played["episodes"].sum()
    return [f"{failed} of {total} episodes ended on non-finite physics"] if failed else []


def _verdict_line(name: str, verdicts: pl.DataFrame, alpha: float) -> str:
    """What is shown of the mean and of the worst return of one arm, where the difference is largest."""
    parts = []
    for (about,), rows in verdicts.group_by("about", maintain_order=True):
        largest = rows.sort(pl.col("difference").abs(), descending=True, nulls_last=True).row(0, named=True)
        judged = rows.group_by("verdict", maintain_order=True).agg("sparsity")
        told = "; ".join(
            f"{verdict} at {', '.join(f'{sparsity:.2f}' for sparsity in where)}"
            for verdict, where in judged.iter_rows()
        )
        p = "" if largest["p"] is None else f", adjusted p {number(largest['p'])}"
        parts.append(
            f"{about} return {told} (most at {largest['sparsity']:.2f}: {signed(largest['difference'])}{p})"
        )
    return f"{name}, pruned against dense: {'; '.join(parts)}; {family_wise(alpha)} over all of them"


def _screen_table(summary: pl.DataFrame, verdicts: pl.DataFrame, arms: list[str]) -> Table:
    """A row per arm and sparsity, means over seeds: the returns, and the differences to the dense twins."""
    judged = {
        (arm, asked, about): (signed(difference), number(p))
        for arm, asked, about, difference, p in verdicts.select(
            "arm", "sparsity_asked", "about", "difference", "p"
        ).iter_rows()
    }
    table = plain_table(f"mean return over {summary['points'].max()} shifts")
    for column in ("arm", "sparsity")[len(arms) == 1 :]:
        table.add_column(column, justify="right")
    for column in (
        *("nominal", "mean", "10%\nquantile", "worst"),
        *("mean,\n- dense", "p", "worst,\n- dense", "p"),
    ):
        table.add_column(column, justify="right")
    means = summary.group_by("arm", "sparsity_asked", maintain_order=True).agg(pl.mean("sparsity", *_COLUMNS))
    for arm, asked, achieved, *returns in means.sort("arm", "sparsity_asked").iter_rows():
        differences = (judged.get((arm, asked, about), ("", "")) for about in ("mean", "worst"))
        table.add_row(
            *([arm] if len(arms) > 1 else []),
            f"{achieved:.2f}",
            *map(number, returns),
            *(text for pair in differences for text in pair),
        )
    return table


def _returns(summary: pl.DataFrame, interval: Student) -> Table:
    points = summary["points"].max()
    table = plain_table(f"mean return over {points} shifts")
    for column in ("sparsity", "nominal", "mean", "10% quantile", "worst"):
        table.add_column(column, justify="right")
    achieved = dict(summary.group_by("sparsity_asked").agg(pl.mean("sparsity")).iter_rows())
    for asked in summary["sparsity_asked"].unique().sort():
        rows = summary.filter(sparsity_asked=asked)
        cells = []
        for column in _COLUMNS:
            estimate = interval.mean(rows[column])
            cells.append(f"{number(estimate.mean)}\n{low_to_high(estimate.low, estimate.high)}".rstrip())
        table.add_row(f"{achieved[asked]:.2f}", *cells)
    return table


def _differences(verdicts: pl.DataFrame) -> Table:
    table = plain_table("member minus dense twin, over the shifts")
    for column in ("sparsity", "return", "pairs", "difference", "interval", "adjusted p", "verdict"):
        table.add_column(column, justify="left" if column in ("return", "verdict") else "right")
    for row in verdicts.iter_rows(named=True):
        table.add_row(
            f"{row['sparsity']:.2f}",
            row["about"],
            str(row["seeds"]),
            signed(row["difference"]),
            low_to_high(row["low"], row["high"]),
            number(row["p"]),
            row["verdict"],
        )
    return table
