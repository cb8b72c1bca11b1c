"""What is certified of returns under attack at every step: a figure, a table and lines in the terminal."""

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.figure import Figure
from rich.table import Table

from jaxprune.analysis import across_seeds, without_diverged
from jaxprune.report.console import plain_table
from jaxprune.report.numbers import number
from jaxprune.report.style import Label, label_line_ends, panel_grid, styled
from jaxprune.report.words import Words

LARGEST = "largest_eps_25"
"""The column of the largest radius that leaves a quarter of the clean mean, and of the same by blocks."""

PANELS = {
    "clean": "mean_max_lowest",
    "under MAD (estimate, from above)": "attacked_mean",
    "certified": "certified_mean",
    "certified by blocks": "certified_blocks",
}


@styled
def attacked_returns_figure(
    means: pl.DataFrame, title: str, panel: tuple[float, float] = (5.6, 3.8)
) -> Figure:
    """Return of one arm against the radius of the ball: clean, attacked and certified, a line per sparsity.

    Lines are means over seeds; diverged members are left out with their pairs.

    Raises:
        ValueError: no member is left.
    """
    kept = without_diverged(means)
    first = means.row(0, named=True)
    figure, panels = panel_grid(
        "Certified return under attack at every step",
        title,
        f"policies that draw their actions, means of max(R, {first['lowest']:g}); sparsity at the line's "
        f"end;\nlimits hold together with confidence {first['confidence']:g}; no attacker was searched for",
        dict.fromkeys(PANELS, kept) if kept.height else {},
        panel,
    )
    asked = kept["sparsity_asked"].unique().sort()
    # The last sixth of the colour map is too light for lines on white.
    colors = colormaps["viridis"](np.linspace(0.0, 0.84, len(asked)))
    ends = []
    for (axes, rows), column in zip(panels, PANELS.values(), strict=True):
        axes.set(xlabel=f"eps ({first['norm']}, {first['space']})", ylabel="mean return per episode")
        labels = []
        for sparsity, color in zip(asked, colors, strict=True):
            line = across_seeds(rows.filter(sparsity_asked=sparsity), ["eps"], column)
            axes.plot(line["eps"], line["mean"], color=color, marker="o")
            eps, height = line.select("eps", "mean").row(-1)
            labels.append(Label(f"{sparsity:.2f}", eps, height, color))
        ends.append((axes, labels))
    for axes, labels in ends:
        label_line_ends(axes, labels)
    return figure


def attacked_returns_words(means: pl.DataFrame) -> Words:
    """A table and sentences for every training arm, of members that have not diverged."""
    trusted = means.filter(~pl.col("diverged"))
    arms = trusted["arm"].unique(maintain_order=True).to_list()
    tables, lines = [], [_about(trusted)] if arms else []
    for arm in arms:
        own, prefix = trusted.filter(pl.col("arm") == arm), "" if len(arms) == 1 else f"{arm}: "
        tables.append(_table(own, prefix))
        lines += [prefix + line for line in _lines(own)]
    return Words(tables=tables, lines=lines)


def _about(means: pl.DataFrame) -> str:
    """What holds of all limits."""
    first = means.row(0, named=True)
    return (
        f"certified returns: all {first['simultaneous']} limits hold together at {first['confidence']:g}, "
        f"over {first['episodes']} episodes of each member, others chose; MAD: {first['attacked_episodes']} "
        "episodes"
    )


def _table(means: pl.DataFrame, prefix: str) -> Table:
    """A row per sparsity, means over its members: clean, and at each radius certified and attacked.

    Clean is with the policy's own spread; where it is another, the table says which, and what that returns.
    """
    first = means.row(0, named=True)
    radii = means["eps"].unique().sort().to_list()
    table = plain_table(
        f"{prefix}mean of max(R, {number(first['lowest'])}) under attack at every step, {first['norm']} "
        f"{first['space']}, sampled actions"
    )
    for column in ("sparsity", "clean", "", *(f"eps {eps:g}" for eps in radii)):
        table.add_column(column, justify="right" if column else "left")
    columns = {
        "certified_mean": "certified",
        "certified_blocks": "certified by blocks",
        "attacked_mean": "MAD finds",
    }
    clean_column = "mean_max_lowest"
    if "mean_own_std" in means.columns and (first["stds_tried"] > 1 or first["std"] != 1):
        clean_column = "mean_own_std"
        columns |= {"std": "times its std", "mean_max_lowest": "clean with that"}
    for (asked,), rows in means.group_by("sparsity_asked", maintain_order=True):
        cells = []
        for eps in radii:
            here = rows.filter(pl.col("eps") == eps)
            cells.append("\n".join(number(mean) for mean in here.select(pl.mean(*columns)).row(0)))
        clean = rows.filter(pl.col("eps") == radii[0]).select(pl.mean(clean_column)).item()
        table.add_row(f"{asked:.2f}", number(clean), "\n".join(columns.values()), *cells)
    return table


def _lines(means: pl.DataFrame) -> list[str]:
    """The largest limit at each radius, pruned and dense; and up to which radius a good part is certified."""
    certified = pl.max_horizontal("certified_mean", "certified_blocks")
    informative = means.filter(certified > pl.col("lowest"))
    if informative.is_empty():
        least = means.sort("spent").row(0, named=True)
        return [
            "certified returns: none above the lowest; half of the episodes of member "
            f"{least['member']} spend {number(least['spent'])} or more at eps {least['eps']:g}, and so many "
            f"episodes certify little beyond {number(least['largest_budget'])}; shifts grow about as eps "
            f"does, so ask for {least['eps'] * least['largest_budget'] / least['spent']:.1g} or less",
        ]
    lines = []
    for (eps,), rows in informative.sort("eps").group_by("eps", maintain_order=True):
        best = ", ".join(
            f"{kind} {number(part['certified_mean'][0])} of {number(part['mean_max_lowest'][0])} (member "
            f"{part['member'][0]}, sparsity {part['sparsity_asked'][0]:g})"
            for kind, part in _best(rows, "certified_mean").items()
        )
        lines.append(f"largest certified mean at eps {eps:g}: {best}")
    return [*lines, *_largest(means)]


def _largest(means: pl.DataFrame) -> list[str]:
    """Up to which radius a quarter of the clean mean is certified, where the table says so."""
    if LARGEST not in means.columns:
        return []
    reached = means.filter(pl.col(LARGEST) > 0)
    largest = ", ".join(
        f"{kind} {part[LARGEST][0]:g} (member {part['member'][0]}, sparsity {part['sparsity_asked'][0]:g})"
        for kind, part in _best(reached, LARGEST).items()
    )
    return [
        f"largest eps with 25% of the clean mean certified, of those asked for: {largest or 'none'}; of all "
        "members together; a larger limit proves no larger return"
    ]


def _best(rows: pl.DataFrame, column: str) -> dict[str, pl.DataFrame]:
    """The rows of pruned and of dense members, the largest first, where there are any."""
    ordered = rows.sort(column, "certified_mean", descending=True)
    kinds = {"pruned": pl.col("sparsity_asked") > 0, "dense": pl.col("sparsity_asked") == 0}
    return {kind: part for kind, these in kinds.items() if (part := ordered.filter(these)).height}
