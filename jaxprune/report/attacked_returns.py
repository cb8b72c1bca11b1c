"""What is certified of returns under attack at every step: a figure, a table and lines in the terminal."""

from typing import NamedTuple

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

LEAST = 0.01
"""Of the way from the lowest return to the clean mean: what a limit must leave to count."""

ALIKE = 1e-6
"""Of a mean: by how much another one may differ and be the same but for rounding."""


class Kind(NamedTuple):
    """A lower limit, and what is left clean and under MAD of the same quantity.

    how: what sets it apart, in words.
    """

    certified: str
    clean: str
    attacked: str
    how: str

    @property
    def share(self) -> pl.Expr:
        """What is certified, of the way from the lowest return to the clean mean; null where none is."""
        way = pl.col(self.clean) - pl.col("lowest")
        return pl.when(way > 0).then((pl.col(self.certified) - pl.col("lowest")) / way)


KINDS = (
    Kind("certified_mean", "mean_max_lowest", "attacked_max_lowest", ""),
    Kind("certified_blocks", "mean_blocks", "attacked_blocks", " by blocks"),
)


def larger_kind(means: pl.DataFrame) -> Kind:
    """The kind of limit that leaves the larger share of its own clean mean, in the mean of these rows."""
    shares = [means.select(kind.share.mean()).item() or 0.0 for kind in KINDS]
    return KINDS[int(np.argmax(shares))]


def leaves_something() -> pl.Expr:
    """Whether one of the limits counts."""
    return pl.any_horizontal((kind.share >= LEAST).fill_null(False) for kind in KINDS)


def blocks_differ(means: pl.DataFrame) -> bool:
    """Whether the sum over blocks was another one than max(R, lowest) in some clean episode."""
    differ = (pl.col("mean_blocks") - pl.col("mean_max_lowest")).abs() > ALIKE * pl.col("mean_blocks").abs()
    return bool(means.select(differ.any()).item())


def under_mad(means: pl.DataFrame) -> str:
    """The column of what MAD leaves: of max(R, lowest), or of R in tables of before."""
    return "attacked_max_lowest" if "attacked_max_lowest" in means.columns else "attacked_mean"


def beside_blocks(means: pl.DataFrame) -> dict[str, str]:
    """What is seen of the sum that limits by blocks are about, and its columns; nothing if it is no other."""
    if not blocks_differ(means):
        return {}
    seen = {"clean by blocks": "mean_blocks", "under MAD by blocks": "attacked_blocks"}
    return {name: column for name, column in seen.items() if column in means.columns}


def panels(means: pl.DataFrame) -> dict[str, str]:
    """What is drawn of a table, and its columns."""
    attacked = under_mad(means)
    of = "of R itself" if attacked == "attacked_mean" else "from above"
    drawn = {
        "clean": "mean_max_lowest",
        f"under MAD (estimate, {of})": attacked,
        "certified": "certified_mean",
        "certified by blocks": "certified_blocks",
    }
    return drawn | beside_blocks(means)


def about_blocks(means: pl.DataFrame) -> str:
    """What the limits by blocks are about, where it is not max(R, lowest); else nothing."""
    if not blocks_differ(means):
        return ""
    return "by blocks: of the sum over blocks of max(return, share of the lowest), which is no less"


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
    first, drawn, blocks = means.row(0, named=True), panels(kept), about_blocks(kept)
    figure, places = panel_grid(
        "Certified return under attack at every step",
        title,
        f"policies that draw their actions, means of max(R, {first['lowest']:g}); sparsity at the line's "
        f"end;\nlimits hold together with confidence {first['confidence']:g}; no attacker was searched for"
        + (blocks and f"\n{blocks}"),
        dict.fromkeys(drawn, kept) if kept.height else {},
        panel,
    )
    asked = kept["sparsity_asked"].unique().sort()
    # The last sixth of the colour map is too light for lines on white.
    colors = colormaps["viridis"](np.linspace(0.0, 0.84, len(asked)))
    ends = []
    for (axes, rows), column in zip(places, drawn.values(), strict=True):
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
    """A table and sentences for every arm, without members that diverged or whose dense twin did."""
    trusted = without_diverged(means)
    arms = trusted["arm"].unique(maintain_order=True).to_list()
    tables, lines = [], [_about(trusted), *filter(None, [about_blocks(trusted)])] if arms else []
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
    first, attacked = means.row(0, named=True), under_mad(means)
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
        **{column: name for name, column in beside_blocks(means).items()},
        attacked: "MAD finds, of R" if attacked == "attacked_mean" else "MAD finds",
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
    counting = means.filter(leaves_something())
    if counting.is_empty():
        return [_nothing(means)]
    lines = []
    for (eps,), rows in counting.sort("eps").group_by("eps", maintain_order=True):
        kind = larger_kind(rows)
        best = ", ".join(
            f"{name} {number(part[kind.certified][0])} of {number(part[kind.clean][0])}"
            + (f", {number(part[kind.attacked][0])} under MAD" if kind.attacked in part.columns else "")
            + f" (member {part['member'][0]}, sparsity {part['sparsity_asked'][0]:g})"
            for name, part in _best(rows, kind.certified).items()
        )
        lines.append(f"largest certified mean{kind.how} at eps {eps:g}: {best}")
    return [*lines, *_too_large(means, counting), *_largest(means)]


def _nothing(means: pl.DataFrame) -> str:
    """Why no limit counts, and what to ask for instead; shifts grow about as eps does."""
    if means.filter(pl.max_horizontal("mean_max_lowest", "mean_blocks") > pl.col("lowest")).is_empty():
        return (
            "certified returns: none, as no clean episode returns more than the lowest, "
            f"{means['lowest'][0]:g}; certify takes a lower --return-lowest"
        )
    least = means.sort("spent").row(0, named=True)
    spent, budget = least["spent"], least["largest_budget"]
    none = f"certified returns: none is {LEAST:.0%} of the clean mean"
    if spent <= budget:
        return f"{none}, though half of the episodes spend {number(spent)} or less; ask for more episodes"
    return (
        f"{none}; half of the episodes of member {least['member']} spend {number(spent)} or more at eps "
        f"{least['eps']:g}, and so many episodes certify little beyond {number(budget)}; shifts grow about "
        f"as eps does, so ask for about {least['eps'] * budget / spent:.1g} or less"
    )


def _too_large(means: pl.DataFrame, counting: pl.DataFrame) -> list[str]:
    """The radii at which no limit counts, and the largest one at which one does."""
    empty = means.filter(~pl.col("eps").is_in(counting["eps"].unique().to_list()))["eps"].unique().sort()
    if empty.is_empty():
        return []
    return [
        f"at eps {', '.join(f'{eps:g}' for eps in empty)} no limit is {LEAST:.0%} of the clean mean; the "
        f"largest eps asked for at which one is: {counting['eps'].max():g}"
    ]


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
