"""The coefficients of `jaxprune.costs`, fitted to the table of `benchmarks.scaling`; what they predict."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import nnls

from benchmarks.scaling_rows import EPISODES, PARTS, RADII, SHORT, asked_of
from jaxprune import coefficients as fitted
from jaxprune import costs
from jaxprune.analysis import CLEAN
from jaxprune.costs import Amounts


def amounts(row: Mapping[str, Any]) -> Amounts:
    """What a row of the table comes to."""
    asked = asked_of(row)
    if asked.part == "training":
        return costs.training(asked.members, asked.recipe, asked.sizes)
    if asked.part == "evaluation":
        return costs.playing(row["steps"], asked.sizes, asked.attack)
    if asked.part == "certificates":
        return costs.certifying(asked.members, asked.states, asked.sizes)
    clean, states = asked.members * EPISODES * SHORT, asked.members * asked.states * RADII
    attacked = costs.playing(row["steps"] - clean, asked.sizes, "mad")
    parts = (costs.playing(clean, asked.sizes, CLEAN), attacked, costs.returning(states, asked.sizes))
    return costs.added(*parts)


def physics(row: Mapping[str, Any]) -> float:
    """Processor seconds of the physics of a row."""
    return row["physics_us"] / 1e6 * row["steps"]


def predicted(row: Mapping[str, Any]) -> float:
    """Processor seconds of a row, by the coefficients that there are and the speed measured beside it."""
    slowness = row["network_s"] / fitted.REFERENCE_SECONDS
    return physics(row) + slowness * costs.cost(amounts(row), fitted.SECONDS)


def temporary(row: Mapping[str, Any]) -> float:
    """MiB that an iteration of a row needs beside what is carried, likewise."""
    asked = asked_of(row)
    return asked.members * costs.cost(costs.remembering(asked.recipe, asked.sizes), fitted.BYTES) / 2**20


def coefficients(table: pl.DataFrame) -> str:
    """A module of the coefficients that come closest to the rows: none is negative, errors are relative."""
    reference = float(table["network_s"].median())
    seconds: dict[str, float] = {}
    for part in PARTS:
        rows = list(table.filter(part=part).iter_rows(named=True))
        made = [{name: n * row["network_s"] / reference for name, n in amounts(row).items()} for row in rows]
        left = [
            row["processor_s"] - physics(row) - sum(seconds.get(name, 0.0) * n for name, n in each.items())
            for row, each in zip(rows, made, strict=True)
        ]
        seconds |= _fitted(made, left, [row["processor_s"] for row in rows], seconds)
    trained = list(table.filter(part="training").iter_rows(named=True))
    held = [2**20 * row["temporary_mib"] / row["members"] for row in trained]
    needs = [costs.remembering(asked_of(row).recipe, asked_of(row).sizes) for row in trained]
    of_bytes = _fitted(needs, held, held, {})
    return f'''"""What one of each amount in `costs` costs. Written by `benchmarks.scaling`; do not edit."""

REFERENCE_SECONDS = {reference:.4g}
"""Processor seconds of `speeds.network_seconds` where the others were measured."""

SECONDS = {_literal(seconds)}
"""Processor seconds of one of each."""

COMPILING = {_literal(_compiling(table))}
"""Processor seconds of compiling the training of one arm, an evaluation, each attack in it, and so on."""

BYTES = {_literal(of_bytes)}
"""Bytes of one of each, of a member that is trained."""
'''


def _fitted(
    made: list[Amounts], left: list[float], whole: list[float], known: Mapping[str, float]
) -> dict[str, float]:
    """The coefficients of the amounts that are not known yet, by least squares of the relative errors."""
    names = [name for name in made[0] if name not in known]
    shares = np.array([[each[name] / all_ for name in names] for each, all_ in zip(made, whole, strict=True)])
    scale = np.maximum(np.abs(shares).max(0), 1e-300)
    found, _ = nnls(shares / scale, np.array(left) / np.array(whole))
    return dict(zip(names, (found / scale).tolist(), strict=True))


def _compiling(table: pl.DataFrame) -> dict[str, float]:
    def of(part: str) -> float:
        return float(table.filter(part=part)["compile_processor_s"].median())

    played = table.filter(part="evaluation", task="halfcheetah")
    clean, attacked = (
        float(played.filter((pl.col("attack") == "none") == is_clean)["compile_processor_s"].mean())
        for is_clean in (True, False)
    )
    return {
        "training": of("training"),
        "evaluation": clean,
        "attack": max(0.0, attacked - clean),
        "certificates": of("certificates"),
        "returned": of("returned"),
    }


def _literal(values: Mapping[str, float]) -> str:
    lines = "".join(f'    "{name}": {float(f"{value:.4g}")},\n' for name, value in values.items())
    return f"{{\n{lines}}}"
