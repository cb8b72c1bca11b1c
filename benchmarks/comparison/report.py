"""The kept rounds as one table and one figure."""

from collections.abc import Mapping
from math import isfinite, isinf

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.comparison.rows import LIMIT, OURS, PARTS, PEER, ROWS, Part, Row
from jaxprune.report.numbers import number
from jaxprune.report.style import BLUE, GREY, ORANGE, annotate, entitle, styled

COLUMNS = (
    "part",
    "row",
    "rounds",
    "unit",
    "median",
    "least..most",
    "share of physics alone",
    "result",
    "versions",
    "not comparable",
)
BUSY = 0.05
"""Share of the cores in other programs' hands from which on a table says that the machine was busy."""

NEVER = "not reached"
_HUES = {LIMIT: GREY, OURS: BLUE, PEER: ORANGE}


def summary(rounds: pl.DataFrame, missing: Mapping[Row, str]) -> pl.DataFrame:
    """The table, all its cells text.

    Args:
        rounds: of `rounds.SCHEMA`.
        missing: why rows could not be measured; other rows without a round say only that they were not.
    """
    lines = [_line(part, row, rounds, missing) for part in PARTS for row in ROWS if row.part == part.name]
    return pl.DataFrame(lines, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def numbers(part: Part, row: Row, rounds: pl.DataFrame) -> list[float]:
    """What the measurements of a row come to, turn by turn; infinite for a return that was not reached."""
    mine = rounds.filter(part=row.part, row=row.name).sort("turn")
    return [part.number(*each) for each in mine.select("amount", "seconds").iter_rows()]


def shares(mine: list[float], limit: list[float]) -> str:
    """Median (least..most) of the shares of the limit, each of the same round."""
    each = [one / most for one, most in zip(mine, limit, strict=False)]
    return f"{np.median(each):.0%} ({min(each):.0%}..{max(each):.0%})" if each else "-"


def _line(part: Part, row: Row, rounds: pl.DataFrame, missing: Mapping[Row, str]) -> tuple[str, ...]:
    of_row = rounds.filter(part=row.part, row=row.name)
    if of_row.is_empty():
        reason = f"not measured: {missing[row]}" if row in missing else "not measured"
        return (part.title, row.name, "0", part.unit, reason, "", "", "", "", row.differs)
    values = numbers(part, row, rounds)
    limit = next((one for one in ROWS if one.part == row.part and one.side == LIMIT), None)
    of_limit = numbers(part, limit, rounds) if limit is not None and part.name == "training" else []
    return (
        part.title,
        row.name,
        str(len(values)),
        part.unit,
        _number(float(np.median(values))),
        f"{_number(min(values))}..{_number(max(values))}",
        shares(values, of_limit),
        _result(part, values, of_row["result"].drop_nulls().to_numpy()),
        of_row["versions"][-1],
        row.differs,
    )


def _number(value: float) -> str:
    return NEVER if isinf(value) else number(value)


def _result(part: Part, values: list[float], results: np.ndarray) -> str:
    if not len(results):
        return "-"
    there = sum(map(isfinite, values))
    some = "" if there == len(values) else f"{there} of {len(values)} reached it; "
    return f"{some}{part.result} {number(float(results.mean()))}"


def markdown(table: pl.DataFrame, rounds: pl.DataFrame, machine: str, goal: float) -> str:
    """The report."""
    header = f"| {' | '.join(table.columns)} |\n{'|---' * table.width}|"
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table.iter_rows())
    return f"""# Beside other programs

{machine}

{load(rounds)} Rounds are interleaved: every round measures all rows of a part one after the other. \
Median and least..most over rounds; of the time to a clean return over seeds, which have to reach a mean \
of {goal:g} over ten episodes: the seconds until one is there, over the number of seeds that share the \
machine. A process of PyTorch has one thread. Delta: mean bound on the shift of the mean action, in standard \
deviations. How to make the environments of the peers: `benchmarks/peers/README.md`.

{header}
{lines}
"""


def load(rounds: pl.DataFrame) -> str:
    """What other programs took of the machine."""
    if rounds.is_empty():
        return "Nothing has been measured."
    each = rounds["others"].to_numpy()
    said = f"other programs used {np.median(each):.0%} ({each.min():.0%}..{each.max():.0%}) of the cores"
    warning = "**Measured on a busy machine, not to be quoted.** " if busy(rounds) else ""
    return f"{warning}Just before the measurements {said}."


def busy(rounds: pl.DataFrame) -> bool:
    """Whether other programs took more than is good for a measurement."""
    return float(np.median(rounds["others"].to_numpy())) > BUSY


@styled
def figure(rounds: pl.DataFrame, title: str) -> Figure:
    """The median of every row that was measured, a panel per part; thin lines: least to most.

    Bars, and points where the scale is logarithmic.

    Raises:
        ValueError: nothing was measured.
    """
    measured = {
        part: {row: numbers(part, row, rounds) for row in ROWS if row.part == part.name} for part in PARTS
    }
    kept = {part: {row: v for row, v in rows.items() if v} for part, rows in measured.items()}
    drawn = {part: rows for part, rows in kept.items() if rows}
    if not drawn:
        raise ValueError("Beside other programs: no round has been measured")
    heights = [len(rows) + 1.2 for rows in drawn.values()]
    drawing = Figure(figsize=(9.0, 0.32 * sum(heights) + 1.2), layout="constrained")
    grid = drawing.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (part, rows) in zip(grid, drawn.items(), strict=True):
        _draw(axes, part, rows)
    entitle(drawing, "Beside other programs", f"{title}{', BUSY: not to be quoted' if busy(rounds) else ''}")
    annotate(drawing, "blue: jaxprune; orange: others; grey: limit, or without attack; lines: least to most")
    return drawing


def _draw(axes: Axes, part: Part, rows: Mapping[Row, list[float]]) -> None:
    decades = part.name == "bounds"  # from intervals to optimised lines there are four
    for place, (row, values) in enumerate(rows.items()):
        finite = [value for value in values if isfinite(value)]
        middle = float(np.median(values))
        if finite:
            axes.plot([min(finite), max(finite)], [place, place], color="black", linewidth=1.0)
        if isfinite(middle) and decades:
            axes.plot(middle, place, "o", color=_HUES[row.side], markersize=7)
        elif isfinite(middle):
            axes.barh(place, middle, color=_HUES[row.side], height=0.7)
    axes.set_xscale("log" if decades else "linear")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=decades)
    axes.set_title(part.title)
    axes.set_xlabel(f"{part.unit} ({'more' if part.rate else 'less'} is better)")
