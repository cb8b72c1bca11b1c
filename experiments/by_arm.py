"""The figures of a run, of each of its training arms by itself."""

import re
from pathlib import Path

import polars as pl

from jaxprune import ShiftEvaluation
from jaxprune.analysis import without_diverged
from jaxprune.certification.policy import TIGHTEST
from jaxprune.report import attacked_returns_figure, figures, shifts_figure


def ending(arm: str, arms: list[str]) -> str:
    """What the names of an arm's files end with; nothing where there is one arm."""
    return "" if len(arms) == 1 else f"-{re.sub(r'[^a-z0-9.=]+', '-', arm)}"


def _of_arm(where: str, arm: str, arms: list[str]) -> str:
    """What a figure of one arm is about: the arm is named where there are several."""
    return where if len(arms) == 1 else f"{where}, {arm}"


def draw(
    folder: Path,
    results: pl.DataFrame,
    certificates: pl.DataFrame,
    regret: pl.DataFrame,
    curves: pl.DataFrame | None,
) -> None:
    """Draw the figures of every arm of a population."""
    arms = results["arm"].unique(maintain_order=True).to_list()
    for arm in arms:
        of_results, of_certificates, of_regret = (
            table.filter(pl.col("arm") == arm) for table in (results, certificates, regret)
        )
        drawn = figures.population_figures(of_results, of_certificates, of_regret)
        if curves is not None:
            own = curves.filter(pl.col("arm") == arm)
            drawn["training"] = figures.training_figure(own, figures.heading(of_results))
        for name, figure in drawn.items():
            figures.save(figure, folder / f"{name}{ending(arm, arms)}.png")


def draw_shifts(folder: Path, found: ShiftEvaluation) -> None:
    """Draw what shifted dynamics left of the returns of every arm that has members left."""
    kept = without_diverged(found.shifts)
    arms = found.summary["arm"].unique(maintain_order=True).to_list()
    for arm in arms:
        if (own := kept.filter(pl.col("arm") == arm)).height:
            task, physics = own.select("task", "physics").row(0)
            figure = shifts_figure(own, f"{task} on {physics}, deterministic policies")
            figures.save(figure, folder / f"shifts{ending(arm, arms)}.png")


def draw_returned(folder: Path, means: pl.DataFrame, where: str) -> None:
    """Draw the certified returns of every arm that has members left."""
    kept = without_diverged(means)
    arms = means["arm"].unique(maintain_order=True).to_list()
    for arm in arms:
        if (own := kept.filter(pl.col("arm") == arm)).height:
            figure = attacked_returns_figure(own, _of_arm(where, arm, arms))
            figures.save(figure, folder / f"attacked_returns{ending(arm, arms)}.png")


def draw_bounds(folder: Path, members: pl.DataFrame, where: str) -> None:
    """Draw the bounds of every arm that has members left, in the policies' own balls at the same states."""
    # The tightest lies on one of the others.
    kept = without_diverged(members.filter(pl.col("bound") != TIGHTEST, ball="own"))
    arms = members["arm"].unique(maintain_order=True).to_list()
    for arm in arms:
        if (own := kept.filter(pl.col("arm") == arm)).height:
            title = f"{_of_arm(where, arm, arms)}, each in its own ball, all of a seed at the same states"
            figure = figures.bounds_figure(own, title, own["quantity"][0])
            figures.save(figure, folder / f"bounds{ending(arm, arms)}.png")
