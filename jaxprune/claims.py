"""What a folder of things kept was asked for: written beside them, so that nothing is taken for another's."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxprune.errors import SpecError
from jaxprune.files import in_one_piece
from jaxprune.population import Population

ASKED = "asked.json"
"""The file beside what is kept that says what it is of."""


def asked(population: Population, **specs: Any) -> dict[str, Any]:
    """All that decides what is kept: the options, the members and their budget, the agents to the bit."""
    everything = {**specs, **population.to_dict(), "agents": _digest(population)}
    return json.loads(json.dumps(everything))


def check_same(folder: Path, asked_now: dict[str, Any]) -> None:
    """Raise SpecError, with the name of the field, where what the folder holds is of something else.

    It is refused as well where it does not say of what it is.
    """
    written = folder / ASKED
    if not written.is_file():
        _check_empty(folder)
        return
    try:
        before = json.loads(written.read_text())
        differing = [name for name in asked_now if before.get(name) != asked_now[name]]
    except (OSError, AttributeError, json.JSONDecodeError) as error:
        raise SpecError(f"resume: {written} cannot be read ({error}); begin in a new folder") from None
    for name in differing:
        raise SpecError(
            f"resume: {name} is {asked_now[name]}, but what is kept in {folder} was begun with "
            f"{before.get(name, 'none')}; begin in a new folder"
        )


def claim(folder: Path, asked_now: dict[str, Any]) -> None:
    """Make the folder, or go on with it. Raises SpecError as `check_same`, or if it cannot be written."""
    check_same(folder, asked_now)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"out: cannot create {folder} ({error.strerror})") from None
    in_one_piece(folder / ASKED, lambda part: part.write_text(json.dumps(asked_now, indent=2) + "\n"))


def _check_empty(folder: Path) -> None:
    """Raise SpecError for a folder that holds anything; half a claim is nothing."""
    if folder.is_dir() and any(path.name != f"{ASKED}.part" for path in folder.iterdir()):
        raise SpecError(
            f"resume: {folder} holds no {ASKED}, which says of what its files are; begin in a new folder"
        )


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
