"""What a chart of the page is: traces of Plotly, tagged with what they show, and the choices among them."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.colors import to_hex

from jaxprune.report.numbers import number

Trace = dict[str, Any]

ALL = "all"
"""The choice that leaves everything of a dimension in the chart."""

# A colour is written as the one on white, a bar, and the one on black; the page takes one of them.
# Okabe & Ito's palette: the yellow only on black, the black and the dark blue only on white.
INK = "#1b1b1b|#f2f2f2"
VERMILLION = "#D55E00|#FF8A3D"
BLUE = "#0072B2|#4FA8E0"
ORANGE = "#E69F00|#E69F00"
HUES = (
    *("#0072B2|#56B4E9", "#009E73|#2CC69B", "#CC79A7|#E39BC4", "#E69F00|#F0E442", "#56B4E9|#4F8FE0"),
    *("#882255|#D87FB0", "#8C564B|#C9A093", "#7F7F7F|#A8A8A8"),
)
SYMBOLS = ("square", "triangle-up", "triangle-down", "diamond", "pentagon", "cross", "x", "star")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

MOST_POINTS = 6_000
"""Of single members in a chart, at most: more are a cloud, and megabytes."""

_ROOM = 0.5  # of the height that the values take, at most, on either side, for intervals
_MARGIN = 0.05


@dataclass(frozen=True)
class Choice:
    """One thing that the reader chooses: the trace's tag, what it is called, and whether all may be shown."""

    tag: str
    label: str
    all: bool = False
    first: str | None = None


@dataclass(frozen=True)
class Chart:
    """A chart.

    name: unique on the page, for its links and files. alt: what it shows, in a sentence with numbers.
    caption: how it is to be read. traces: each with a `meta` of tags. layout: of Plotly, without colours.
    """

    name: str
    title: str
    alt: str
    caption: str
    traces: list[Trace]
    layout: dict[str, Any]
    choices: tuple[Choice, ...] = field(default=())

    def options(self, choice: Choice) -> list[str]:
        """What there is to choose, in the order of the traces; empty where there is nothing to choose."""
        tags = (trace["meta"].get(choice.tag) for trace in self.traces)
        found = list(dict.fromkeys(tag for tag in tags if tag is not None))
        if len(found) < 2:
            return []
        return [ALL, *found] if choice.all else found

    def chosen(self, choice: Choice) -> str | None:
        """What is shown first: one tag, `ALL`, or None where there is nothing to choose."""
        options = self.options(choice)
        if choice.first in options:
            return choice.first
        return options[0] if options else None


def text(value: object) -> str:
    """A name as Plotly is to show it, which reads some HTML."""
    return html.escape(str(value), quote=False)


def rounded(values: Iterable[float | int | None]) -> list[float | None]:
    """Numbers as JSON knows them, six digits of each; null for what is none."""
    return [None if v is None or not np.isfinite(v) else float(f"{v:.6g}") for v in values]


def line(
    name: str,
    x: Iterable[float | int | None],
    y: Iterable[float | int | None],
    color: str,
    *,
    meta: dict[str, str],
    symbol: str = "circle",
    dash: str = "solid",
    width: float = 2.0,
    hover: str = "%{x:.4g}: %{y:.4g}",
    **more: Any,
) -> Trace:
    """A line with markers."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": text(name),
        "x": rounded(x),
        "y": rounded(y),
        "meta": meta,
        "line": {"color": color, "dash": dash, "width": width},
        "marker": {"color": color, "symbol": symbol, "size": 7},
        "hovertemplate": f"<b>{text(name)}</b><br>{hover}<extra></extra>",
        **more,
    }


def bars(estimates: pl.DataFrame, color: str) -> Trace:
    """The interval of every mean, as error bars; nothing where there is one seed."""
    if estimates["low"].null_count() == estimates.height:
        return {}
    reach = estimates.select(
        above=pl.col("high").sub(pl.col("mean")).clip(0), below=pl.col("mean").sub(pl.col("low")).clip(0)
    )
    return {
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": rounded(reach["above"]),
            "arrayminus": rounded(reach["below"]),
            "color": color,
            "thickness": 1,
            "width": 3,
        }
    }


def limits(values: pl.Series, low: Iterable[float | int | None], high: Iterable[float | None]) -> list[float]:
    """The range of an axis: of every seed's value, and wider by at most half of that where intervals need it.

    With two seeds an interval reaches nine standard deviations to either side.
    """
    least, most = float(values.min() or 0.0), float(values.max() or 0.0)  # pyright: ignore[reportArgumentType]
    height = (most - least) or abs(most) or 1.0
    lowest = min((v for v in low if v is not None), default=least)
    highest = max((v for v in high if v is not None), default=most)
    bottom = max(min(lowest, least), least - _ROOM * height) - _MARGIN * height
    top = min(max(highest, most), most + _ROOM * height) + _MARGIN * height
    return [float(f"{bottom:.4g}"), float(f"{top:.4g}")]


def sparsity_colors(asked: Sequence[float]) -> dict[float, str]:
    """A colour for every sparsity, from dark to light; the ends that white or black would hide are cut."""
    on_white, on_black = (
        colormaps["viridis"](np.linspace(*ends, len(asked))) for ends in ((0, 0.84), (0.3, 1))
    )
    return {
        sparsity: f"{to_hex(one)}|{to_hex(other)}"
        for sparsity, one, other in zip(asked, on_white, on_black, strict=True)
    }


def from_to(estimates: pl.DataFrame, place: str = "sparsity", value: str = "mean") -> str:
    """`12 at 0 to 34 at 0.9`: the first and the last point of a line."""
    points = estimates.drop_nulls(value).select(place, value).rows()
    if not points:
        return "nothing"
    ends = [points[0], points[-1]] if len(points) > 1 else points
    return " to ".join(f"{number(height)} at {at:.2g}" for at, height in ends)


def last_seed(rows: pl.DataFrame, points: int) -> tuple[int, str]:
    """Up to which seed single members are drawn, that need so many points if all are; and what to say of it.

    rows: of all seeds, one at least.
    """
    seeds = rows["seed"].unique().sort().to_list()
    shown = seeds[: max(1, len(seeds) * MOST_POINTS // max(points, 1))]
    if shown == seeds:
        return seeds[-1], ""
    return shown[-1], (
        f" Small points are members of the first {len(shown)} of {len(seeds)} seeds; means are over all of "
        "them, and the CSV files hold all members."
    )


def listed(parts: Sequence[str], most: int = 8) -> str:
    """The parts of a sentence, as many as one can listen to."""
    more = [f"and {len(parts) - most} more"] if len(parts) > most else []
    return "; ".join([*parts[:most], *more]) or "there is nothing to show"


def named(arm: str, arms: Sequence[str], name: str) -> str:
    """The name of a line: with its arm where there are several."""
    return name if len(arms) == 1 else f"{arm}: {name}"


def tags(arm: str, **others: str | None) -> dict[str, str]:
    """The tags of a trace; what is None it always shows."""
    return {"arm": arm} | {name: value for name, value in others.items() if value is not None}
