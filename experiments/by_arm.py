"""What the report says of a run: figures and summary, for each training arm by itself."""

import re
from pathlib import Path

import polars as pl
from rich.console import Console

from jaxprune.report import figures, print_summary


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
    """Print the summary and draw the figures of every arm; the names of the files drawn.

    alpha: the error of all verdicts of all arms together.
    """
    arms = results["arm"].unique(maintain_order=True).to_list()
    written = []
    for arm in arms:
        of_results, of_certificates, of_regret, of_verdicts = (
            table.filter(pl.col("arm") == arm) for table in (results, certificates, regret, verdicts)
        )
        drawn = figures.population_figures(of_results, of_certificates, of_regret)
        if curves is not None:
            own = curves.filter(pl.col("arm") == arm)
            drawn["training"] = figures.training_figure(own, figures.heading(of_results))
        written += [
            figures.save(figure, folder / f"{name}{ending(arm, arms)}.png").name
            for name, figure in drawn.items()
        ]
        if len(arms) > 1:
            console.rule(f"arm {arm}")
        print_summary(
            console, of_results, of_regret, of_certificates, of_verdicts, alpha=alpha, arms=len(arms)
        )
    return written
