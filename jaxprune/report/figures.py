"""The figures of a sweep. Each takes a table and a title and returns a figure, which `save` writes as PNG
and SVG.
"""

from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogFormatterSciNotation

from jaxprune.analysis import (
    CLEAN,
    DEFAULT_INTERVAL,
    STRONGEST,
    Student,
    distance_quantity,
    family_of,
    strongest,
    without_diverged,
)
from jaxprune.report.budgets import budgets
from jaxprune.report.lines import by_sparsity, seed_range, smoothed
from jaxprune.report.numbers import counted, percent
from jaxprune.report.style import (
    BLACK,
    BLUE,
    GREY,
    HUES,
    MARKERS,
    MORE_HUES,
    NOTE_SIZE,
    ORANGE,
    VERMILLION,
    Label,
    annotate,
    entitle,
    label_line_ends,
    panel_grid,
    styled,
)

_SPARSITY = "sparsity (share of prunable weights that are zero)"
QUANTITIES = {
    "delta": "shift of the mean action, delta\n(in the policy's standard deviations)",
    "delta_dense": "shift of the mean action, delta\n(in the dense policy's standard deviations)",
    "delta_action": "shift of the mean action\n(in units of the action)",
    "range": "range of the change of logits",
    "tv": "total variation between action distributions",
    "return": "loss of return (upper bound)",
}
_TERMS = {  # from the bottom of the stack to its top
    "clean_regret": ("clean regret: best known - dense", BLUE),
    "pruning_loss": ("pruning loss: dense - pruned", ORANGE),
    "robustness_gap": ("robustness gap: pruned - pruned under attack", VERMILLION),
}

_OF_A_POLICY = ("tv", "return")  # quantities that are means over the episodes of a policy
_ROOM = 0.5  # of the height that the values take, at most, on either side, for intervals
_MARGIN = 0.03
_CUT = ", cut at the edge"


class _PlainLog(LogFormatterSciNotation):
    """Labels where a logarithmic axis has them: 0.6 in place of 6 x 10^-1."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def heading(results: pl.DataFrame) -> str:
    """What a table of results is about, in one line: task, physics, arm, pruning, seeds, and who diverged.

    Raises:
        ValueError: the table is empty or holds several families of members.
    """
    family = family_of(results)
    scope = {"layer": "per layer", "global": "over all layers"}.get(family["scope"], family["scope"])
    lost = results.filter("diverged")["member"].n_unique()
    diverged = f", {lost} of {results['member'].n_unique()} members diverged" if lost else ""
    return (
        f"{family['task']} on {family['physics']}, {family['arm']}, "
        f"{family['schedule']} {family['score']} pruning {scope}, {_seeds(results)}{diverged}"
    )


def save(figure: Figure, path: Path, dpi: int = 200) -> Path:
    """Write `figure` as a PNG of (inches x `dpi`) pixels, and as SVG beside it. Returns `path`.

    Makes the folder if needed. The same figure gives the same bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=dpi)
    with matplotlib.rc_context({"svg.hashsalt": "jaxprune"}):
        figure.savefig(path.with_suffix(".svg"), format="svg", metadata={"Date": None})
    return path


def population_figures(
    results: pl.DataFrame, certificates: pl.DataFrame, regret: pl.DataFrame
) -> dict[str, Figure]:
    """The figures of a population that there is something to draw in, by name.

    Without members that stayed finite there is none, without dense ones to compare with no `regret`, and
    without certificates no `bounds`.
    """
    title, kept = heading(results), without_diverged(regret)
    drawn = {}
    if kept.height:
        drawn["returns"] = returns_figure(results, title)
        if certificates.height:
            drawn["bounds"] = bounds_figure(certificates, title)
        if not kept["pruning_loss"].has_nulls():
            drawn["regret"] = regret_figure(regret, title)
    return drawn


@styled
def returns_figure(
    results: pl.DataFrame,
    title: str,
    interval: Student = DEFAULT_INTERVAL,
    panel: tuple[float, float] = (6.6, 4.6),
) -> Figure:
    """Clean and attacked return against sparsity, one panel of `panel` inches per budget.

    The strongest attack of each member is the one that `strongest` chose, on other episodes than those shown.
    Lines are means over seeds. The clean line and the strongest attack's carry Student's interval as a band,
    cut where it would leave too little room for the returns; where there is one seed, a standard deviation of
    the episodes as thin bars instead. Diverged members are left out.

    Raises:
        ValueError: the table has no row with an attack, or holds several families.
    """
    family_of(results)
    results = without_diverged(results)
    clean = results.filter(pl.col("attack") == CLEAN)
    attacked = results.filter(pl.col("attack") != CLEAN)
    worst = strongest(results)
    attacks, hues = attacked["attack"].unique().sort(), (*HUES, *MORE_HUES)
    figure, panels = panel_grid(
        "Return against sparsity", title, _spread_note(results, interval), budgets(attacked), panel
    )
    ends, bands = [], _Bands()
    for axes, budget in panels:
        labels = [
            _return_line(axes, "clean", clean, interval, BLACK, bands),
            _return_line(axes, "strongest attack", worst.filter(budget), interval, VERMILLION, bands),
        ]
        for index, attack in enumerate(attacks):
            rows = attacked.filter(budget, pl.col("attack") == attack)
            if not rows.is_empty():
                style = {
                    "color": hues[index % len(hues)],
                    "marker": MARKERS[index % len(MARKERS)],
                    "zorder": 3,
                }
                labels.append(_mean_line(axes, attack, by_sparsity(rows, "return_mean", interval), **style))
        axes.set(xlabel=_SPARSITY, ylabel="mean return per episode")
        ends.append((axes, labels))
    bands.draw(figure)
    _label_all(ends)
    return figure


@styled
def bounds_figure(
    certificates: pl.DataFrame,
    title: str,
    quantity: str | None = None,
    interval: Student = DEFAULT_INTERVAL,
    panel: tuple[float, float] = (6.6, 4.6),
) -> Figure:
    """Every bound on `quantity` (default: the policies' distance) against sparsity, on a log scale.

    Monotone bounds are solid, the others dashed, estimates (such as the largest value an attack found, below
    which no sound bound may lie) dotted with markers. Lines are means over seeds; zero and infinite values
    have no place on the scale and are left out, and so are diverged members. Bands are Student's intervals
    over seeds, cut where they would leave too little room for the values. There is one panel of `panel`
    inches per budget.

    Raises:
        ValueError: there is no certificate on `quantity`.
    """
    quantity = quantity or distance_quantity(certificates)
    certificates = without_diverged(certificates)
    about = certificates.filter(pl.col("quantity") == quantity)
    if about.is_empty():
        raise ValueError(f"quantity={quantity!r}: no such rows; there are {_names(certificates, 'quantity')}")
    drawn = about.filter(pl.col("value").is_finite(), pl.col("value") > 0)
    note = "solid: monotone under pruning; dashed: not monotone; dotted: estimate, no bound"
    if about["seed"].n_unique() > 1:
        note += f"\nbands: {_interval_note(interval, about)}"
    figure, panels = panel_grid("Bounds against sparsity", title, note, budgets(about), panel)
    colors = {}  # no two lines of one style share one
    for of_style in (pl.col("monotone"), ~pl.col("monotone")):
        bounds = _names(about.filter(pl.col("kind") == "bound", of_style), "bound")
        colors |= dict(zip(bounds, cycle((VERMILLION, *HUES, *MORE_HUES)), strict=False))
    ends, bands = [], _Bands()
    label = QUANTITIES.get(quantity, quantity)
    if quantity in _OF_A_POLICY:
        label += f"\n(clean episodes of {' and '.join(_names(about, 'policy'))} actions)"
    for axes, budget in panels:
        axes.set(yscale="log", xlabel=_SPARSITY, ylabel=label)
        axes.yaxis.set_major_formatter(_PlainLog())
        axes.yaxis.set_minor_formatter(_PlainLog())
        labels = []
        for (bound, monotone, kind), rows in drawn.filter(budget).group_by("bound", "monotone", "kind"):
            style = {"color": BLACK, "linestyle": ":", "marker": "o"}
            if kind == "bound":
                style = {"color": colors[bound], "linestyle": "-" if monotone else "--"}
            line = by_sparsity(rows, "value", interval)
            labels.append(_mean_line(axes, bound, line, **style))
            bands.add(axes, line, rows["value"], style["color"])
        ends.append((axes, labels))
    bands.draw(figure)
    _label_all(ends)
    return figure


@styled
def regret_figure(
    regret: pl.DataFrame,
    title: str,
    interval: Student = DEFAULT_INTERVAL,
    panel: tuple[float, float] = (6.6, 4.6),
) -> Figure:
    """The terms of the regret under the strongest attack, stacked; one panel of `panel` inches per budget.

    Positive terms are stacked upwards from zero and negative ones downwards. The marker is their sum, with
    Student's interval over seeds, cut where it would leave too little room for the terms. Diverged members,
    and those whose dense twin has diverged, are left out.

    Raises:
        ValueError: there are no rows of the strongest attack, or a member without a dense twin.
    """
    rows = without_diverged(regret.filter(pl.col("attack") == STRONGEST))
    if rows.is_empty() or rows["pruning_loss"].has_nulls():
        raise ValueError(
            "regret: needs rows of the strongest attack, all with a dense twin (sparsity 0) of their seed"
        )
    note = "strongest attack of each member; terms below zero are stacked downwards"
    if rows["seed"].n_unique() > 1:
        note += f"\nbars of the total: {_interval_note(interval, rows)}"
    figure, panels = panel_grid("Where the return is lost", title, "", budgets(rows), panel)
    bars = _Bands()
    for axes, budget in panels:
        _stack(axes, rows.filter(budget), interval, bars)
        axes.set(xlabel=_SPARSITY, ylabel="regret (return per episode)")
    if bars.draw(figure):
        note += _CUT
    legend = figure.legend(
        *panels[0][0].get_legend_handles_labels(),
        title=note,
        title_fontsize=NOTE_SIZE,
        loc="outside lower left",
        alignment="left",
        ncols=2,
        fontsize=9,
    )
    legend.get_title().set_color(GREY)
    return figure


@styled
def training_figure(curves: pl.DataFrame, title: str, panel: tuple[float, float] = (7.2, 5.6)) -> Figure:
    """Return and sparsity during training against environment steps, one line per sparsity asked.

    Lines are means over seeds, bands run from the lowest seed to the highest; iterations in which no
    episode ended are left out. Returns are running means over a twentieth of the iterations, since an
    iteration ends only a few episodes.

    Raises:
        ValueError: the table is empty.
    """
    if curves.is_empty():
        raise ValueError("curves: the table is empty, there is nothing to draw")
    curves, window = smoothed(curves)
    figure = Figure(figsize=panel, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    entitle(figure, "Training", title)
    asked = curves["sparsity_asked"].unique().sort()
    # The last sixth of the colour map is too light for lines on white.
    colors = colormaps["viridis"](np.linspace(0.0, 0.84, len(asked)))
    labels = []
    for sparsity, color in zip(asked, colors, strict=True):
        rows = curves.filter(pl.col("sparsity_asked") == sparsity)
        returns = seed_range(rows, "return_mean")
        upper.plot(returns["env_steps"], returns["mean"], color=color, linewidth=1.3)
        upper.fill_between(
            returns["env_steps"], returns["low"], returns["high"], color=color, alpha=0.15, linewidth=0
        )
        if not returns.is_empty():
            steps, height = returns.select("env_steps", "mean").row(-1)
            labels.append(Label(f"{sparsity:.2f}", steps, height, color))
        achieved = seed_range(rows, "sparsity")
        lower.plot(achieved["env_steps"], achieved["mean"], color=color, linewidth=1.3)
    band = "; band: lowest to highest seed" if curves["seed"].n_unique() > 1 else ""
    averaged = f"; running mean of {window} iterations" if window > 1 else ""
    upper.set(
        ylabel="mean return of training episodes", title=f"final sparsity at the line's end{averaged}{band}"
    )
    lower.set(ylabel="sparsity", ylim=(-0.03, 1.0), xlabel="environment steps per member")
    lower.xaxis.set_major_formatter(EngFormatter(sep=""))
    upper.margins(x=0.01)
    label_line_ends(upper, labels)
    return figure


def _stack(axes: Axes, rows: pl.DataFrame, interval: Student, bars: "_Bands") -> None:
    total = by_sparsity(rows, "total", interval)
    places = np.arange(total.height)
    above, below = np.zeros(total.height), np.zeros(total.height)
    for term, (name, color) in _TERMS.items():
        height = by_sparsity(rows, term, interval)["mean"].to_numpy()
        foot = np.where(height >= 0, above, below)
        axes.bar(places, height, 0.72, foot, color=color, label=name, edgecolor="white", linewidth=0.6)
        above += np.maximum(height, 0)
        below += np.minimum(height, 0)
    axes.plot(
        places,
        total["mean"],
        "D",
        color=BLACK,
        markerfacecolor="white",
        label="total: best known - pruned under attack",
    )
    bars.add(axes, total.with_columns(place=places), rows["total"], BLACK)
    axes.axhline(0, color=BLACK, linewidth=0.8)
    axes.set_xticks(places, [f"{sparsity:.2f}" for sparsity in total["sparsity"]])
    axes.grid(visible=False, axis="x")


def _return_line(
    axes: Axes, name: str, rows: pl.DataFrame, interval: Student, color: str, bands: "_Bands"
) -> Label:
    """A thick line of returns with what is known about its spread."""
    line = by_sparsity(rows, "return_mean", interval)
    bands.add(axes, line, rows["return_mean"], color)
    if rows["seed"].n_unique() == 1:
        episodes = rows.sort("sparsity")["return_std"]
        axes.errorbar(
            line["sparsity"], line["mean"], episodes, fmt="none", ecolor=color, elinewidth=0.7, capsize=2
        )
    return _mean_line(axes, name, line, color=color, marker="o", linewidth=3.2, zorder=2)


def _mean_line(axes: Axes, name: str, line: pl.DataFrame, **style: Any) -> Label:
    axes.plot(line["sparsity"], line["mean"], label=name, **style)
    sparsity, height = line.select("sparsity", "mean").row(-1)
    return Label(name, sparsity, height, style["color"])


class _Bands:
    """Intervals over seeds, drawn once the lines are, so that they do not decide the limits of the axes.

    With two seeds an interval reaches nine standard deviations to either side. Limits are those of every
    seed's value, and wider by at most `_ROOM` of that on either side where an interval needs it.
    """

    def __init__(self) -> None:
        self._bands: list[tuple[Axes, pl.DataFrame, str]] = []
        self._values: list[float] = []

    def add(self, axes: Axes, line: pl.DataFrame, values: pl.Series, color: str) -> None:
        """The interval of a `line` that is the mean of `values`; error bars where it has a column `place`."""
        self._values += values.drop_nulls().to_list()
        self._bands.append((axes, line.drop_nulls("low"), color))

    def draw(self, figure: Figure) -> bool:
        """Draw all intervals. Returns whether one is cut, and says so in the footnote if there is one."""
        shown = [(axes, line, color) for axes, line, color in self._bands if not line.is_empty()]
        if not shown:
            return False
        axes = shown[0][0]
        ends = pl.concat([line.select("low", "high") for _, line, _ in shown])
        scale = axes.yaxis.get_transform()
        limits = scale.transform(np.array([*axes.get_ylim(), min(self._values), max(self._values)]))
        bottom, top = limits.min(), limits.max()
        height = top - bottom
        with np.errstate(divide="ignore", invalid="ignore"):  # an interval below zero on a log scale is cut
            low, high = scale.transform(ends["low"].to_numpy()), scale.transform(ends["high"].to_numpy())
        low = np.nan_to_num(low, nan=-np.inf)
        least = max(bottom - _ROOM * height, min(bottom, low.min() - _MARGIN * height))
        most = min(top + _ROOM * height, max(top, high.max() + _MARGIN * height))
        limits = scale.inverted().transform(np.array([least, most]))
        for axes, line, color in shown:
            inside = line.with_columns(pl.col("low", "high").clip(*limits))
            _interval(axes, inside, color)
        axes.set_ylim(*limits)
        cut = bool(low.min() < least or high.max() > most)
        if cut and figure.get_supxlabel():
            annotate(figure, figure.get_supxlabel() + _CUT)
        return cut


def _interval(axes: Axes, line: pl.DataFrame, color: str) -> None:
    if "place" in line.columns:
        reach = _distances(line)
        style = {"fmt": "none", "ecolor": color, "capsize": 3, "elinewidth": 1.2, "zorder": 1.5}
        axes.errorbar(line["place"], line["mean"], reach, **style)
    else:
        axes.fill_between(line["sparsity"], line["low"], line["high"], color=color, alpha=0.15, linewidth=0)


def _distances(line: pl.DataFrame) -> np.ndarray:
    """Lengths of the interval below and above the mean, `[2, sparsity]`, as error bars want them."""
    below = (line["mean"] - line["low"]).to_numpy()
    above = (line["high"] - line["mean"]).to_numpy()
    # A bar's length may not be negative, not even by rounding.
    return np.maximum(np.stack([below, above]), 0.0)


def _label_all(ends: list[tuple[Axes, list[Label]]]) -> None:
    """Label the panels once all are drawn: they share their limits, on which the heights of labels hang."""
    for axes, labels in ends:
        label_line_ends(axes, labels)


def _spread_note(results: pl.DataFrame, interval: Student) -> str:
    fewest, most = results["episodes"].min(), results["episodes"].max()
    episodes = counted(most, "episode") if fewest == most else f"{fewest} to {most} episodes"
    if results["seed"].n_unique() == 1:
        return f"bars: one standard deviation of the {episodes}, not an interval: there is one seed"
    return f"bands: {_interval_note(interval, results)}, each the mean of {episodes}"


def _interval_note(interval: Student, table: pl.DataFrame) -> str:
    return f"{percent(interval.confidence)} Student t interval over {_seeds(table)}"


def _seeds(table: pl.DataFrame) -> str:
    return counted(table["seed"].n_unique(), "seed")


def _names(table: pl.DataFrame, column: str) -> list[str]:
    return table[column].unique().sort().to_list()
