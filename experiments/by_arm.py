"""What the terminal says of a run, and the figures of each of its training arms."""

import re
from pathlib import Path

import polars as pl
from rich.console import Console

from jaxprune import ShiftEvaluation
from jaxprune.analysis import without_diverged
from jaxprune.report import (
    attacked_returns_figure,
    figures,
    screen_words,
    shift_words,
    shifts_figure,
)


def ending(arm: str, arms: list[str]) -> str:
    """What the names of an arm's files end with; nothing where there is one arm."""
    return "" if len(arms) == 1 else f"-{re.sub(r'[^a-z0-9.=]+', '-', arm)}"


def report(
    console: Console,
    folder: Path,
    results: pl.DataFrame,
    certificates: pl.DataFrame,
    regret: pl.DataFrame,
    verdicts: pl.DataFrame,
    curves: pl.DataFrame | None,
    *,
    alpha: float,
) -> list[str]:
    """Print what fits on one screen and draw the figures of every arm; the names of the files drawn.

    alpha: the error of all verdicts of all arms together.
    """
    arms = results["arm"].unique(maintain_order=True).to_list()
    written = []
    for arm in arms:
        of_results, of_certificates, of_regret = (
            table.filter(pl.col("arm") == arm) for table in (results, certificates, regret)
        )
        title = figures.heading(of_results)
        console.print(title, style="bold")
        drawn = figures.population_figures(of_results, of_certificates, of_regret)
        if curves is not None:
            own = curves.filter(pl.col("arm") == arm)
            drawn["training"] = figures.training_figure(own, title)
        written += [
            figures.save(figure, folder / f"{name}{ending(arm, arms)}.png").name
            for name, figure in drawn.items()
        ]
    screen_words(results, regret, certificates, verdicts, alpha=alpha).print(console)
    return written


def report_shifts(console: Console, folder: Path, found: ShiftEvaluation, *, alpha: float) -> list[str]:
    """Print what shifted dynamics left of the returns and draw it for every arm; the files drawn.

    alpha: the error of all its verdicts together.
    """
    arms = found.summary["arm"].unique(maintain_order=True).to_list()
    written = []
    for arm in arms:
        shifts, summary, verdicts = (table.filter(pl.col("arm") == arm) for table in found)
        if not summary["diverged"].all():
            task, physics = shifts.select("task", "physics").row(0)
            figure = shifts_figure(shifts, f"{task} on {physics}, deterministic policies")
            written.append(figures.save(figure, folder / f"shifts{ending(arm, arms)}.png").name)
        if len(arms) > 1:
            console.rule(f"arm {arm}, shifted dynamics")
        shift_words(shifts, summary, verdicts, alpha=alpha).print(console)
    return written


def draw_returned(folder: Path, means: pl.DataFrame, title: str) -> list[str]:
    """Draw the certified returns of every arm that has members left; the files drawn."""
    kept = without_diverged(means)
    arms = means["arm"].unique(maintain_order=True).to_list()
    return [
        figures.save(
            attacked_returns_figure(own, title), folder / f"attacked_returns{ending(arm, arms)}.png"
        ).name
        for arm in arms
        if (own := kept.filter(pl.col("arm") == arm)).height
    ]
