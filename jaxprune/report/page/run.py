"""What a folder holds that a command left behind: what was asked, and the tables that are there."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from jaxprune.errors import SpecError

VIDEOS = "watch*.avif"
"""The files of a folder that hold episodes to watch."""

NEWEST = 3
"""The newest format of run folders that this page knows; those before it are read as far as they go."""

SWEEP, ATTACK, CERTIFY, SHIFT, AUDIT = "sweep", "attack", "certify", "shift", "audit"

_SHIFTS = ("shifts", "shift_summary", "shift_verdicts")
_RETURNED = ("attacked_returns", "attacked_return_curve")
_PHASES = "phases.json"
_ABOUT = {SWEEP: "spec.json"} | {kind: f"{kind}.json" for kind in (ATTACK, CERTIFY, SHIFT, AUDIT)}
_NEEDED = {
    SWEEP: ("results", "certificates", "regret", "verdicts", "curves", "episodes", "sampled"),
    ATTACK: ("results", "tried"),
    CERTIFY: ("states", "members", "audit", "certificates", "returns"),
    SHIFT: _SHIFTS,
}
_NEEDED[AUDIT] = (*_NEEDED[ATTACK], *_NEEDED[CERTIFY])
_MAY_BE_EMPTY = ("certificates", "regret", "verdicts", "audit", "shift_verdicts")
"""Those that have no rows where nothing was certified, attacked, or pruned beside a dense twin."""

_OPTIONAL = {
    SWEEP: ("layers", *_SHIFTS, *_RETURNED),
    ATTACK: ("regret", "verdicts", "effort", "rungs", "transfer"),
    CERTIFY: ("smoothing", "votes", *_RETURNED),
    SHIFT: (),
}
_OPTIONAL[AUDIT] = _OPTIONAL[CERTIFY]


@dataclass(frozen=True)
class Run:
    """One folder.

    name: of the folder. kind: of the command that wrote it. about: what it wrote about itself. tables: those
    that are there, by name. missing: those that are not, though a finished command writes them. unreadable:
    files that are there and no tables. videos: episodes to watch, by the name of their file. phases: where
    its time went, where that was written down.
    """

    name: str
    kind: str
    about: dict[str, Any]
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    videos: dict[str, bytes] = field(default_factory=dict)
    phases: list[dict[str, Any]] = field(default_factory=list)

    @property
    def author(self) -> str:
        """The program that wrote the folder, and the format of it."""
        version = _dictionary(self.about.get("versions")).get("jaxprune", "unknown")
        return f"jaxprune {version}, format {self.about.get('format', 1)}"

    @property
    def empty(self) -> list[str]:
        """The tables without a row that have some in a finished run."""
        rows = {name: table.height for name, table in self.tables.items() if name not in _MAY_BE_EMPTY}
        return [name for name in _NEEDED[self.kind] if rows.get(name) == 0]

    def has(self, *names: str) -> bool:
        """Whether all these tables are there, with rows in those that need some."""
        return all(name in self.tables for name in names) and not set(names) & set(self.empty)


def read_run(path: Path) -> Run:
    """The run in a folder, finished or not.

    Raises SpecError if no command has written there, or one that is newer than this page.
    """
    kinds = [kind for kind, name in _ABOUT.items() if (path / name).is_file()]
    if not kinds:
        raise SpecError(f"runs: {path} is no folder of a run (it holds none of {', '.join(_ABOUT.values())})")
    (kind, *_) = kinds
    about = _about(path / _ABOUT[kind])
    run = Run(path.resolve().name, kind, about)
    written = about.get("format", 1)
    if not isinstance(written, int) or written > NEWEST:
        raise SpecError(
            f"runs: {path} was written by {run.author}; this program reads formats up to {NEWEST}"
        )
    read = {name: _table(path / f"{name}.parquet") for name in (*_NEEDED[kind], *_OPTIONAL[kind])}
    there = [name for name in read if (path / f"{name}.parquet").is_file()]
    return Run(
        run.name,
        kind,
        about,
        {name: table for name, table in read.items() if table is not None},
        tuple(name for name in _needed(kind, about) if name not in there),
        tuple(name for name in there if read[name] is None),
        {file.name: file.read_bytes() for file in sorted(path.glob(VIDEOS))},
        _phases(path / _PHASES),
    )


def is_run(path: Path) -> bool:
    """Whether a command has left what it found in this folder."""
    return any((path / name).is_file() for name in _ABOUT.values())


def _needed(kind: str, about: dict[str, Any]) -> tuple[str, ...]:
    """The tables that a finished command has written."""
    spec = _dictionary(about.get("spec")) if kind == SWEEP else {}
    further = {"shift_episodes": _SHIFTS, "return_episodes": _RETURNED}
    return (*_NEEDED[kind], *(name for field in filter(spec.get, further) for name in further[field]))


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"runs: {path} cannot be read ({error})") from None
    if not isinstance(about, dict):
        raise SpecError(f"runs: {path} holds no settings")
    return about


def _phases(path: Path) -> list[dict[str, Any]]:
    """Where the time went; nothing where that cannot be read, for no finding depends on it."""
    try:
        phases = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return phases if isinstance(phases, list) else []


def _dictionary(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _table(path: Path) -> pl.DataFrame | None:
    """The table in a file; None where there is none, or no file."""
    try:
        table = pl.read_parquet(path)
    # Some broken files make Polars panic, which is no Exception.
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    # Earlier runs had one arm only, which not every table that says who a member is named.
    unnamed = "seed" in table.columns and "arm" not in table.columns
    return table.with_columns(arm=pl.lit("ppo")) if unnamed else table
