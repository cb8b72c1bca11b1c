"""The stages of a certification: each is kept in a file when it is done, to go on from after a stop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxprune import claims, kept
from jaxprune.bounds import BOUNDS
from jaxprune.population import Population

Stage = Callable[[str, str, Callable[[], kept.Arrays]], kept.Arrays]
"""Given the name of a stage, its phase in words, and what computes its arrays: those arrays."""


def unkept(name: str, phase: str, make: Callable[[], kept.Arrays]) -> kept.Arrays:
    """The stage computed, nothing told and nothing kept."""
    return make()


def stages(folder: Path | None, begin: Callable[[str], None]) -> Stage:
    """Stages kept in the folder, one file each, or nowhere; `begin` is told the phases that are computed."""

    def stage(name: str, phase: str, make: Callable[[], kept.Arrays]) -> kept.Arrays:
        def begun() -> kept.Arrays:
            begin(phase)
            return make()

        return begun() if folder is None else kept.load_or_make(folder / f"{name}.npz", begun)

    return stage


def asked(population: Population, **specs: Any) -> dict[str, Any]:
    """All that decides what the stages hold, the bounds there are included."""
    known_bounds = [str(bound) for bound in BOUNDS.values()]
    return claims.asked(population, **specs, known_bounds=known_bounds)
