"""What an attack search has to show: returns, strength against steps, and what transfers."""

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter
from rich.table import Table

from jaxprune.analysis import CLEAN, STRONGEST
from jaxprune.report.console import plain_table
from jaxprune.report.numbers import low_to_high, number
from jaxprune.report.style import HUES, MORE_HUES, Label, label_line_ends, panel_grid, styled


@styled
def effort_figure(effort: pl.DataFrame, title: str, panel: tuple[float, float] = (5.6, 3.8)) -> Figure:
    """The strongest adversary found against the steps of its training: a panel per attack, a line per member.

    Solid up to the last rung, dashed to what twice the steps would bring. Bars are the intervals of
    `strongest_by_steps`.

    Raises:
        ValueError: the table is empty.
    """
    attacks = effort["attack"].unique(maintain_order=True)
    figure, panels = panel_grid(
        "Strongest adversary against its training",
        title,
        "each found by halving: chosen on one half of a rung's episodes, measured on the other;\n"
        "bars: 95 % of resamples of the settings tried; dashed: if another doubling brings its share",
        {attack: effort.filter(attack=attack) for attack in attacks},
        panel,
    )
    hues, ends = (*HUES, *MORE_HUES), []
    for axes, rows in panels:
        axes.set(xscale="log", xlabel="environment steps per adversary", ylabel="mean return per episode")
        axes.set_xticks(rows["steps"].unique().sort().to_list())
        axes.xaxis.set_major_formatter(EngFormatter(places=0, sep=""))
        axes.xaxis.set_minor_formatter(NullFormatter())
        labels = []
        for (member,), line in rows.sort("steps").group_by("member", maintain_order=True):
            color, found = hues[int(member) % len(hues)], line.filter(~pl.col("extrapolated"))
            bars = [
                (line["return_mean"] - line["return_low"]).clip(0),
                (line["return_high"] - line["return_mean"]).clip(0),
            ]
            axes.errorbar(line["steps"], line["return_mean"], bars, fmt="none", ecolor=color, elinewidth=0.8)
            axes.plot(found["steps"], found["return_mean"], color=color, marker="o", label=f"member {member}")
            last = line[-2:]
            if last["extrapolated"].any():
                axes.plot(last["steps"], last["return_mean"], color=color, linestyle="--")
            steps, height = line.select("steps", "return_mean").row(-1)
            labels.append(Label(f"member {member}", steps, height, color))
        ends.append((axes, labels))
    for axes, labels in ends:
        label_line_ends(axes, labels)
    return figure


def search_alarms(results: pl.DataFrame, effort: pl.DataFrame | None, search: str | None) -> list[str]:
    """Whether nobody searched for attackers, or the search was a first look, or still found more at its end.

    Args:
        results: of an attack search.
        effort: by `strongest_by_steps`, if the search went by rungs.
        search: the name of the effort; None where it is an option to search at all.
    """
    lines = []
    if results.filter(pl.col("attack") != STRONGEST)["attackers_tried"].max() == 1:
        option = "--search quick or small" if search is None else "--attacks sa-rl,pa-ad"
        lines.append(
            f"SHORT SEARCH: only {', '.join(attacks_tried(results))} attacked, and none of them has learned "
            f"anything of this policy, so that stronger ones may exist; {option} looks for them"
        )
    elif search == "quick":
        lines.append(
            "SHORT SEARCH: the quick one, 2 adversaries and 2 critics for each victim; the published tables "
            "search 216 and 30"
        )
    falling = None if effort is None else _still_falling(effort)
    if falling:
        lines.append(
            f"SHORT SEARCH: {falling[0]} of {falling[1]} curves of return against training still fall by "
            "more than 5 % in the last doubling"
        )
    return lines


def attacks_tried(results: pl.DataFrame) -> list[str]:
    """The kinds of attack in the table of a search."""
    names = results["attack"].unique(maintain_order=True).to_list()
    return [name for name in names if name not in (CLEAN, STRONGEST)]


def _still_falling(effort: pl.DataFrame) -> tuple[int, int] | None:
    """How many curves lose more than a twentieth in the last doubling that was trained, and of how many."""
    found = effort.filter(~pl.col("extrapolated")).sort("steps")
    ends = (
        found.group_by("member", "attack")
        .agg(pl.col("return_mean").tail(2), pl.len())
        .filter(pl.col("len") > 1)
    )
    before, last = pl.col("return_mean").list.first(), pl.col("return_mean").list.last()
    falling = ends.filter((before - last) > 0.05 * before.abs()).height
    return (falling, ends.height) if falling else None


def strongest_table(results: pl.DataFrame) -> Table:
    """Returns by victim and attack: the chosen attacker on fresh episodes, and where it came from.

    results: of an attack search.
    """
    table = plain_table("mean return under the strongest attacker", "victim", "sparsity", "attack")
    for column in ("fresh episodes", "interval", "as selected", "median attacker", "tried"):
        table.add_column(column, justify="right")
    fresh, selection = (results.filter(pl.col("episode_set") == part) for part in ("fresh", "selection"))
    for row, as_selected in zip(fresh.iter_rows(named=True), selection["return_mean"], strict=True):
        name = row["attack"]
        table.add_row(
            str(row["member"]),
            f"{row['sparsity']:.2f}",
            f"{name} ({row['found_by']})" if name == STRONGEST else name,
            number(row["return_mean"]),
            low_to_high(row["return_low"], row["return_high"]),
            number(as_selected),
            number(row["return_median_attacker"]),
            str(row["attackers_tried"]),
        )
    return table


def transfer_tables(transfer: pl.DataFrame) -> list[Table]:
    """For each arm and learned attack: mean returns over seeds, a row per victim and a column per origin."""
    tables = []
    for (arm, attack), rows in transfer.group_by("arm", "attack", maintain_order=True):
        # sparsities achieved may differ a little between seeds
        rows = rows.with_columns(pl.col("from_sparsity", "to_sparsity").round(2))
        origins = rows["from_sparsity"].unique().sort().to_list()
        table = plain_table(f"{arm}: mean return under the {attack} found for another sparsity")
        for column in ("victim", *(f"found for {origin:.2f}" for origin in origins)):
            table.add_column(column, justify="right")
        for target in rows["to_sparsity"].unique().sort():
            on_it = rows.filter(to_sparsity=target)
            means = dict(on_it.group_by("from_sparsity").agg(pl.mean("return_mean")).iter_rows())
            table.add_row(f"{target:.2f}", *(number(means.get(origin)) for origin in origins))
        tables.append(table)
    return tables
