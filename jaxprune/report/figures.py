"""The figures of a sweep. Each takes a table and a title and returns a figure, which `save` writes as PNG."""

from itertools import cycle
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from jaxprune.analysis import (
    CLEAN,
    DEFAULT_BOOTSTRAP,
    STRONGEST,
    Bootstrap,
    across_seeds,
    distance_quantity,
    family_of,
    strongest,
)
from jaxprune.report.budgets import budgets
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
    entitle,
    label_line_ends,
    panel_grid,
    styled,
)

_SPARSITY = "sparsity (share of prunable weights that are zero)"
_QUANTITIES = {
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


def heading(results: pl.DataFrame) -> str:
    """What a table of results is about, in one line: task, physics, arm, pruning and number of seeds.

    Raises:
        ValueError: the table is empty or holds several families of members.
    """
    family = family_of(results)
    scope = {"layer": "per layer", "global": "over all layers"}.get(family["scope"], family["scope"])
    return (
        f"{family['task']} on {family['physics']}, {family['arm']}, "
        f"{family['schedule']} {family['score']} pruning {scope}, {_seeds(results)}"
    )


def save(figure: Figure, path: Path, dpi: int = 200) -> Path:
    """Write `figure` as a PNG of (inches x `dpi`) pixels, making its folder if needed. Returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=dpi)
    return path


@styled
def returns_figure(
    results: pl.DataFrame,
    title: str,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    panel: tuple[float, float] = (6.6, 4.6),
    worst: pl.DataFrame | None = None,
) -> Figure:
    """Clean and attacked return against sparsity, one panel of `panel` inches per budget.

    `worst` are the rows of the strongest attack, where it was chosen on other episodes than these; otherwise
    it is the attack that left the smallest mean here.

    Lines are means over seeds. The clean line and the strongest attack's carry the bootstrap interval as a
    band; where there is one seed, a standard deviation of the episodes as thin bars instead.

    Raises:
        ValueError: the table has no row with an attack, or holds several families.
    """
    family_of(results)
    clean = results.filter(pl.col("attack") == CLEAN)
    attacked = results.filter(pl.col("attack") != CLEAN)
    worst = strongest(results) if worst is None else worst
    attacks, hues = attacked["attack"].unique().sort(), (*HUES, *MORE_HUES)
    figure, panels = panel_grid(
        "Return against sparsity", title, _spread_note(results, bootstrap), budgets(attacked), panel
    )
    ends = []
    for axes, budget in panels:
        labels = [
            _return_line(axes, "clean", clean, bootstrap, BLACK),
            _return_line(axes, "strongest attack", worst.filter(budget), bootstrap, VERMILLION),
        ]
        for index, attack in enumerate(attacks):
            rows = attacked.filter(budget, pl.col("attack") == attack)
            if not rows.is_empty():
                style = {
                    "color": hues[index % len(hues)],
                    "marker": MARKERS[index % len(MARKERS)],
                    "zorder": 3,
                }
                labels.append(_mean_line(axes, attack, _line(rows, "return_mean", bootstrap), **style))
        axes.set(xlabel=_SPARSITY, ylabel="mean return per episode")
        ends.append((axes, labels))
    _label_all(ends)
    return figure


@styled
def bounds_figure(
    certificates: pl.DataFrame,
    title: str,
    quantity: str | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    panel: tuple[float, float] = (6.6, 4.6),
) -> Figure:
    """Every bound on `quantity` (default: the policies' distance) against sparsity, on a log scale.

    Monotone bounds are solid, the others dashed, estimates (such as the largest value an attack found, below
    which no sound bound may lie) dotted with markers. Lines are means over seeds; zero and infinite values
    have no place on the scale and are left out. There is one panel of `panel` inches per budget.

    Raises:
        ValueError: there is no certificate on `quantity`.
    """
    quantity = quantity or distance_quantity(certificates)
    about = certificates.filter(pl.col("quantity") == quantity)
    if about.is_empty():
        raise ValueError(f"quantity={quantity!r}: no such rows; there are {_names(certificates, 'quantity')}")
    drawn = about.filter(pl.col("value").is_finite(), pl.col("value") > 0)
    note = "solid: monotone under pruning; dashed: not monotone; dotted: estimate, no bound"
    if about["seed"].n_unique() > 1:
        note += f"\nbands: {bootstrap.confidence:.0%} bootstrap interval over {_seeds(about)}"
    figure, panels = panel_grid("Bounds against sparsity", title, note, budgets(about), panel)
    colors = {}  # no two lines of one style share one
    for of_style in (pl.col("monotone"), ~pl.col("monotone")):
        bounds = _names(about.filter(pl.col("kind") == "bound", of_style), "bound")
        colors |= dict(zip(bounds, cycle((VERMILLION, *HUES, *MORE_HUES)), strict=False))
    ends = []
    for axes, budget in panels:
        axes.set(yscale="log", xlabel=_SPARSITY, ylabel=_QUANTITIES.get(quantity, quantity))
        labels = []
        for (bound, monotone, kind), rows in drawn.filter(budget).group_by("bound", "monotone", "kind"):
            style = {"color": BLACK, "linestyle": ":", "marker": "o"}
            if kind == "bound":
                style = {"color": colors[bound], "linestyle": "-" if monotone else "--"}
            line = _line(rows, "value", bootstrap)
            labels.append(_mean_line(axes, bound, line, **style))
            _band(axes, line, style["color"])
        ends.append((axes, labels))
    _label_all(ends)
    return figure


@styled
def regret_figure(
    regret: pl.DataFrame,
    title: str,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    panel: tuple[float, float] = (6.6, 4.6),
) -> Figure:
    """The terms of the regret under the strongest attack, stacked; one panel of `panel` inches per budget.

    Positive terms are stacked upwards from zero and negative ones downwards. The marker is their sum, with
    its bootstrap interval over seeds.

    Raises:
        ValueError: there are no rows of the strongest attack, or a member without a dense twin.
    """
    rows = regret.filter(pl.col("attack") == STRONGEST)
    if rows.is_empty() or rows["pruning_loss"].has_nulls():
        raise ValueError(
            "regret: needs rows of the strongest attack, all with a dense twin (sparsity 0) of their seed"
        )
    note = "strongest attack of each member; terms below zero are stacked downwards"
    if rows["seed"].n_unique() > 1:
        note += f"\nbars of the total: {bootstrap.confidence:.0%} bootstrap interval over {_seeds(rows)}"
    figure, panels = panel_grid("Where the return is lost", title, "", budgets(rows), panel)
    for axes, budget in panels:
        _stack(axes, rows.filter(budget), bootstrap)
        axes.set(xlabel=_SPARSITY, ylabel="regret (return per episode)")
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
    window = max(1, curves["iteration"].max() // 20)
    running = pl.col("return_mean").fill_nan(None).rolling_mean(window, min_samples=1)
    curves = curves.sort("member", "iteration").with_columns(running.over("member"))
    figure = Figure(figsize=panel, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    entitle(figure, "Training", title)
    asked = curves["sparsity_asked"].unique().sort()
    # The last sixth of the colour map is too light for lines on white.
    colors = colormaps["viridis"](np.linspace(0.0, 0.84, len(asked)))
    labels = []
    for sparsity, color in zip(asked, colors, strict=True):
        rows = curves.filter(pl.col("sparsity_asked") == sparsity)
        returns = _seed_range(rows, "return_mean")
        upper.plot(returns["env_steps"], returns["mean"], color=color, linewidth=1.3)
        upper.fill_between(
            returns["env_steps"], returns["low"], returns["high"], color=color, alpha=0.15, linewidth=0
        )
        if not returns.is_empty():
            labels.append(Label(f"{sparsity:.2f}", *returns.select("env_steps", "mean").row(-1), color))
        achieved = _seed_range(rows, "sparsity")
        lower.plot(achieved["env_steps"], achieved["mean"], color=color, linewidth=1.3)
    band = "; band: lowest to highest seed" if curves["seed"].n_unique() > 1 else ""
    smoothed = f"; running mean of {window} iterations" if window > 1 else ""
    upper.set(
        ylabel="mean return of training episodes", title=f"final sparsity at the line's end{smoothed}{band}"
    )
    lower.set(ylabel="sparsity", ylim=(-0.03, 1.0), xlabel="environment steps per member")
    lower.xaxis.set_major_formatter(EngFormatter(sep=""))
    upper.margins(x=0.01)
    label_line_ends(upper, labels)
    return figure


def _stack(axes: Axes, rows: pl.DataFrame, bootstrap: Bootstrap) -> None:
    total = _line(rows, "total", bootstrap)
    places = np.arange(total.height)
    above, below = np.zeros(total.height), np.zeros(total.height)
    for term, (name, color) in _TERMS.items():
        height = _line(rows, term, bootstrap)["mean"].to_numpy()
        foot = np.where(height >= 0, above, below)
        axes.bar(places, height, 0.72, foot, color=color, label=name, edgecolor="white", linewidth=0.6)
        above += np.maximum(height, 0)
        below += np.minimum(height, 0)
    axes.errorbar(
        places,
        total["mean"].to_numpy(),
        yerr=None if total["low"].has_nulls() else _distances(total),
        fmt="D",
        color=BLACK,
        markerfacecolor="white",
        capsize=3,
        linewidth=1.2,
        label="total: best known - pruned under attack",
    )
    axes.axhline(0, color=BLACK, linewidth=0.8)
    axes.set_xticks(places, [f"{sparsity:.2f}" for sparsity in total["sparsity"]])
    axes.grid(visible=False, axis="x")


def _return_line(axes: Axes, name: str, rows: pl.DataFrame, bootstrap: Bootstrap, color: str) -> Label:
    """A thick line of returns with what is known about its spread."""
    line = _line(rows, "return_mean", bootstrap)
    _band(axes, line, color)
    if rows["seed"].n_unique() == 1:
        episodes = rows.sort("sparsity")["return_std"]
        axes.errorbar(
            line["sparsity"], line["mean"], episodes, fmt="none", ecolor=color, elinewidth=0.7, capsize=2
        )
    return _mean_line(axes, name, line, color=color, marker="o", linewidth=3.2, zorder=2)


def _mean_line(axes: Axes, name: str, line: pl.DataFrame, **style: object) -> Label:
    axes.plot(line["sparsity"], line["mean"], label=name, **style)
    return Label(name, *line.select("sparsity", "mean").row(-1), style["color"])


def _band(axes: Axes, line: pl.DataFrame, color: str) -> None:
    known = line.drop_nulls("low")
    axes.fill_between(known["sparsity"], known["low"], known["high"], color=color, alpha=0.15, linewidth=0)


def _line(rows: pl.DataFrame, column: str, bootstrap: Bootstrap) -> pl.DataFrame:
    """`column` over seeds, one row per sparsity asked, from the lowest `sparsity` achieved (its mean) up."""
    achieved = rows.group_by("sparsity_asked").agg(pl.col("sparsity").mean())
    estimates = across_seeds(rows, ["sparsity_asked"], column, bootstrap)
    return estimates.join(achieved, on="sparsity_asked").sort("sparsity")


def _seed_range(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Mean, lowest and highest seed of `column` at each iteration where there is one."""
    value = pl.col(column).fill_nan(None)
    return (
        rows.group_by("iteration")
        .agg(pl.col("env_steps").mean(), mean=value.mean(), low=value.min(), high=value.max())
        .drop_nulls("mean")
        .sort("iteration")
    )


def _distances(line: pl.DataFrame) -> np.ndarray:
    """Lengths of the interval below and above the mean, `[2, sparsity]`, as error bars want them."""
    below = (line["mean"] - line["low"]).to_numpy()
    above = (line["high"] - line["mean"]).to_numpy()
    # A percentile interval holds the mean up to rounding only, and a bar's length may not be negative.
    return np.maximum(np.stack([below, above]), 0.0)


def _label_all(ends: list[tuple[Axes, list[Label]]]) -> None:
    """Label the panels once all are drawn: they share their limits, on which the heights of labels hang."""
    for axes, labels in ends:
        label_line_ends(axes, labels)


def _spread_note(results: pl.DataFrame, bootstrap: Bootstrap) -> str:
    fewest, most = results["episodes"].min(), results["episodes"].max()
    episodes = f"{most}" if fewest == most else f"{fewest} to {most}"
    if results["seed"].n_unique() == 1:
        return f"bars: one standard deviation of the {episodes} episodes, not an interval: there is one seed"
    interval = f"{bootstrap.confidence:.0%} bootstrap interval over {_seeds(results)}"
    return f"bands: {interval}, each the mean of {episodes} episodes"


def _seeds(table: pl.DataFrame) -> str:
    count = table["seed"].n_unique()
    return "1 seed" if count == 1 else f"{count} seeds"


def _names(table: pl.DataFrame, column: str) -> list[str]:
    return table[column].unique().sort().to_list()
