"""The stages of a certification: each is kept in a file when it is done, to go on from after a stop."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxprune import kept
from jaxprune.bounds import BOUNDS
from jaxprune.errors import SpecError
from jaxprune.files import in_one_piece
from jaxprune.population import Population

Stage = Callable[[str, str, Callable[[], kept.Arrays]], kept.Arrays]
"""Given the name of a stage, its phase in words, and what computes its arrays: those arrays."""

ASKED = "asked.json"
"""The file beside the stages that says what they are stages of."""


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
    """All that decides what the stages hold: the options, the bounds there are, the agents to the bit."""
    everything = {
        **specs,
        **population.to_dict(),
        "known_bounds": [str(bound) for bound in BOUNDS.values()],
        "agents": _digest(population),
    }
    return json.loads(json.dumps(everything))


def check_same(folder: Path, asked_now: dict[str, Any]) -> None:
    """Raise SpecError, with the name of the field, where the folder's stages are of something else."""
    written = folder / ASKED
    if not written.is_file():
        return
    try:
        before = json.loads(written.read_text())
        differing = [name for name in asked_now if before[name] != asked_now[name]]
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise SpecError(f"resume: {written} cannot be read ({error}); begin in a new folder") from None
    for name in differing:
        raise SpecError(
            f"resume: {name} is {asked_now[name]}, but what is kept in {folder} was begun with "
            f"{before[name]}; begin in a new folder"
        )


def claim(folder: Path, asked_now: dict[str, Any]) -> None:
    """Make the folder, or go on with it. Raises SpecError as `check_same`, or if it cannot be written."""
    check_same(folder, asked_now)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"out: cannot create {folder} ({error.strerror})") from None
    in_one_piece(folder / ASKED, lambda part: part.write_text(json.dumps(asked_now, indent=2) + "\n"))


def _digest(population: Population) -> str:
    """SHA-256 of every array of the population: who the members are, and their agents with their masks."""
    everyone = population.members
    who = [everyone.seed.tolist(), everyone.sparsity.tolist(), everyone.arm.tolist()]
    found = hashlib.sha256(json.dumps(who).encode())
    for place, leaf in jax.tree.leaves_with_path(population.agents):
        values = np.asarray(leaf)
        found.update(f"{jax.tree_util.keystr(place)} {values.dtype} {values.shape}".encode())
        found.update(values.tobytes())
    return found.hexdigest()
