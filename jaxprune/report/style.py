"""How every figure looks: type, colours, the grid of panels, and labels at the ends of lines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from math import ceil
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito's palette, without its yellow, which is too light for lines on white.
BLACK = "#000000"
VERMILLION = "#D55E00"
BLUE = "#0072B2"
ORANGE = "#E69F00"
HUES = ("#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#0072B2")
MORE_HUES = ("#882255", "#8C564B", "#7F7F7F")
"""For figures of many lines, whose names stand at their ends."""
MARKERS = ("s", "^", "v", "D", "P")
GREY = "#666666"

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.03,
    "axes.edgecolor": GREY,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
}

NOTE_SIZE = 8.5  # points
_LABEL_SIZE = 9.5  # points
_LABEL_GAP = 0.062  # of the height of a panel, a little more than one line of text

Draw = Callable[..., Figure]
Content = TypeVar("Content")


def styled(draw: Draw) -> Draw:
    """Draw under this module's settings and leave matplotlib's own as they were."""

    @wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(_RC):  # pyright: ignore[reportArgumentType]
            return draw(*args, **kwargs)

    return wrapper


def panel_grid(
    headline: str, title: str, footnote: str, panels: Mapping[str, Content], size: tuple[float, float]
) -> tuple[Figure, list[tuple[Axes, Content]]]:
    """A figure with one panel of `size` inches (width, height) for each entry of `panels`, two to a row.

    An empty footnote leaves the place below the panels free.

    Returns the figure, and each panel, titled with its key, with its value. Panels share their limits.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not panels:
        raise ValueError(f"{headline}: the table has no rows to draw")
    columns = min(len(panels), 2)
    rows = ceil(len(panels) / columns)
    figure = Figure(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for unused in grid[len(panels) :]:
        unused.remove()
    for axes, name in zip(grid, panels, strict=False):
        axes.set_title(name)
        axes.tick_params(labelbottom=True, labelleft=True)
    entitle(figure, headline, title)
    if footnote:
        annotate(figure, footnote)
    return figure, list(zip(grid, panels.values(), strict=False))


def entitle(figure: Figure, headline: str, title: str) -> None:
    """Write `headline` in bold, and `title` below it, at the top left of the figure."""
    bold = headline.replace(" ", r"\ ")  # as mathematics, because one text has one weight
    figure.suptitle(f"$\\bf{{{bold}}}$\n{title}", x=0.01, ha="left", fontsize=11)


def annotate(figure: Figure, footnote: str) -> None:
    """Write `footnote` below the panels, in the place of one that is there."""
    figure.supxlabel(footnote, x=0.01, ha="left", fontsize=NOTE_SIZE, color=GREY)


@dataclass(frozen=True)
class Label:
    """A text that belongs to the point (`x`, `y`), in data coordinates."""

    text: str
    x: float
    y: float
    color: object  # anything matplotlib takes for a colour


def label_line_ends(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label to the right of the axes at the height of its point, moved only to be legible.

    Call it last: the heights follow from the limits that the axes have then.
    """
    axes.get_ylim()  # settles limits that matplotlib has put off computing
    to_panel = axes.transScale + axes.transLimits
    heights = [float(to_panel.transform((label.x, label.y))[1]) for label in labels]
    for label, height, place in zip(labels, heights, spread(heights, _LABEL_GAP), strict=True):
        axes.annotate(
            label.text,
            xy=(1.0, height),
            xytext=(1.05, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=_LABEL_SIZE,
            color=label.color,
            arrowprops={"arrowstyle": "-", "color": label.color, "linewidth": 0.7, "relpos": (0, 0.5)},
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights at least `gap` apart, in the given order of size, each as near its own as its group allows.

    Neighbours that come too close form a group, which is laid out evenly about the mean of its heights;
    groups that then overlap are merged (pool adjacent violators). All stay within [0, 1] where there is room.
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    groups: list[list[int]] = []
    for index in order:
        groups.append([index])
        while len(groups) > 1 and _bottom(groups[-1], heights, gap) - _top(groups[-2], heights, gap) < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    places = [0.0] * len(heights)
    for group in groups:
        bottom = _bottom(group, heights, gap)
        for rank, index in enumerate(group):
            places[index] = bottom + rank * gap
    return places


def _bottom(group: Sequence[int], heights: Sequence[float], gap: float) -> float:
    span = (len(group) - 1) * gap
    middle = sum(heights[index] for index in group) / len(group)
    return max(0.0, min(middle - span / 2, 1.0 - span))


def _top(group: Sequence[int], heights: Sequence[float], gap: float) -> float:
    return _bottom(group, heights, gap) + (len(group) - 1) * gap
