"""What successive halving saves of an attack search, and what it costs in strength.

    python -m benchmarks.halving

reads the tables of `benchmarks.watched_search`, in which nobody was stopped, and writes
benchmarks/results/halving.md. A halved search trains its survivors as if nobody had been stopped, so what it
would have found is read off. Asked: the return under its strongest adversary lies within the interval of the
full search's, at no more than a fifth of the steps.

Beside it stands what the same steps buy without any rule: as many settings, drawn at random, trained to the
end. Over the draws that is computed exactly. And in a table of its own, what they buy where few settings
learn for longer: those of `--search small`, halved, against the same full search.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy.stats import spearmanr, t

from benchmarks.watched_search import SETS, TABLES
from jaxprune.training.halving import rung_sizes, stronger_half

REPORT = Path(__file__).parent / "results" / "halving.md"

LONGER, NATIVE = TABLES / "longer", TABLES / "native"
"""Tables of few settings that learned for longer, and of full searches under native physics, as theirs are,
of those victims that have no other."""


OfSetting = Float[np.ndarray, " setting"]


class Found(NamedTuple):
    """A search's strongest adversary: its setting, and at which rung it stood."""

    setting: int
    rung: int


@dataclass(frozen=True)
class Watched:
    """All adversaries of one victim, arrays [rung, setting]: mean returns they leave it, by set of episodes.

    steps: of training at each rung.
    """

    victim: str
    steps: Int[np.ndarray, " rung"]
    deciding: Float[np.ndarray, "rung setting"]
    selection: Float[np.ndarray, "rung setting"]
    fresh: Float[np.ndarray, "rung setting"]
    fresh_std: Float[np.ndarray, "rung setting"]

    @classmethod
    def read(cls, file: Path) -> "Watched":
        """The table of one victim."""
        table = pl.read_csv(file).sort("rung", "setting")
        steps = table["steps"].unique().sort().to_numpy()
        columns = (table[name].to_numpy().reshape(len(steps), -1) for name in (*SETS, "fresh_std"))
        return cls(file.stem, steps, *columns)

    @property
    def chosen(self) -> int:
        """The setting that the full search chooses."""
        return int(self.selection[-1].argmin())

    @property
    def limit(self) -> float:
        """The upper end of the interval of what the full search reports."""
        return self.interval(Found(self.chosen, len(self.steps) - 1))[1]

    def interval(self, found: Found) -> tuple[float, float]:
        """95 % of the mean over fresh episodes (Student's t)."""
        mean, std = (of[found.rung, found.setting] for of in (self.fresh, self.fresh_std))
        low, high = t.interval(0.95, SETS["fresh"] - 1, mean, std / SETS["fresh"] ** 0.5)
        return float(low), float(high)

    @property
    def settings(self) -> int:
        """How many there are."""
        return self.deciding.shape[1]

    def training(self, rungs: int) -> int:
        """Steps of training when halved in so many rungs, the last of those that were watched."""
        sizes = (self.settings,) * (len(self.steps) - rungs) + rung_sizes(self.settings, rungs)
        return int(np.dot(np.diff(self.steps, prepend=0), sizes))

    def share(self, rungs: int) -> float:
        """The same, of the steps of the full search."""
        return self.training(rungs) / self.training(1)


def halved(watched: Watched, rungs: int, earlier: bool = False) -> Found:
    """What halving finds in so many rungs, the last of those that were watched.

    earlier: the strongest of each rung, as it was there, may be chosen as well.
    """
    last = len(watched.steps) - 1
    alive, candidates = np.arange(watched.settings), []
    for rung in range(last + 1 - rungs, last):
        returns = watched.deciding[rung, alive]
        candidates.append(Found(int(alive[returns.argmin()]), rung))
        alive = alive[stronger_half(returns[None])[0]]
    final = [Found(int(setting), last) for setting in alive]
    return min(final + candidates * earlier, key=lambda one: watched.selection[one.rung, one.setting])


def drawn(watched: Watched, count: int) -> tuple[OfSetting, OfSetting]:
    """The strongest of `count` settings drawn without replacement and trained to the end.

    Returns what each setting leaves on fresh episodes, and the probability that it is the one chosen: all
    others drawn must then come after it in the order of the selection episodes.
    """
    order = np.argsort(watched.selection[-1], kind="stable")
    ways = [comb(len(order) - place - 1, count - 1) / comb(len(order), count) for place in range(len(order))]
    return watched.fresh[-1, order], np.array(ways)


def main() -> None:
    """Write the report of all tables there are."""
    full = read(TABLES)
    REPORT.write_text(report(full) + report_of_longer(read(LONGER), full + read(NATIVE)))
    print(REPORT.read_text())


def read(folder: Path) -> list[Watched]:
    """All tables of a folder."""
    return [Watched.read(file) for file in sorted(folder.glob("*.csv"))]


def _machines(*folders: Path) -> str:
    """What tables were made with, every line once."""
    files = [file for folder in folders for file in sorted(folder.glob("*.txt"))]
    return "\n".join(dict.fromkeys(file.read_text().strip() for file in files))


def report_of_longer(longer: list[Watched], full: list[Watched]) -> str:
    """As Markdown: few settings, halved, against the full search of the same victim."""
    lines = "\n".join(
        line for few in longer for every in full if every.victim == few.victim for line in _longer(few, every)
    )
    return f"""
## Fewer settings, longer

{_machines(LONGER, NATIVE)}

The settings of `--search small`, halved; the strongest of every rung, as it was there, may be chosen. The \
full search is that of the first table where it names the victim, under MJX; of other victims (members 0 and \
7 of the README's first command) it was made anew under native physics, which these are under too.

| victim | full search, fresh episodes | its settings x steps | settings x steps | rungs \
| share of its steps | strongest, fresh episodes | setting | reached |
|---|---|---|---|---|---|---|---|---|
{lines}
"""


def _longer(few: Watched, full: Watched) -> Iterator[str]:
    """The rows of one victim."""
    chosen = Found(full.chosen, len(full.steps) - 1)
    for rungs in range(len(few.steps), 1, -1):
        found = halved(few, rungs, earlier=True)
        cells = (
            few.victim,
            _left(full, chosen),
            f"{full.settings} x {full.steps[-1]:,}",
            f"{few.settings} x {few.steps[-1]:,}",
            rungs,
            f"{few.training(rungs) / full.training(1):.1%}",
            _strength(few, found),
            "yes" if few.fresh[found.rung, found.setting] <= full.limit else "no",
        )
        yield f"| {' | '.join(map(str, cells))} |"


def report(victims: list[Watched]) -> str:
    """As Markdown."""
    lines = "\n".join(line for watched in victims for line in _searches(watched))
    foretold = "\n".join(line for watched in victims for line in _rungs(watched))
    return f"""# Successive halving of the attack search

{_machines(TABLES)}

Deterministic victims, the published budget of their task, normalised. All adversaries are trained to the \
end and measured at every rung: on {SETS["deciding"]} episodes that decide who goes on, \
{SETS["selection"]} on which the strongest is chosen and {SETS["fresh"]} fresh ones, which give the \
returns here and their 95 % intervals (Student's t). What halving finds is read off: fewer rungs are the \
last of those, and "or as it was earlier" lets it choose the strongest of each rung too. "Reached": not \
above the interval of the full search. Shares are of the full search's training; the episodes that decide \
are not counted. "At random": as many settings as these steps pay for, drawn at random and trained to the \
end; mean over all draws, and how many of them reach.

| victim | search | strongest, fresh episodes | setting | share | reached | at random | reached |
|---|---|---|---|---|---|---|---|
{lines}

How well a rung foretells the end: the place of the full search's strongest in the order of the \
{SETS["deciding"]} episodes, and the rank correlation over all settings with the end (all \
{sum(SETS.values())} episodes of both).

| victim | steps | strongest there, fresh episodes | place of the final strongest \
| rank correlation with the end |
|---|---|---|---|---|
{foretold}
"""


def _searches(watched: Watched) -> list[str]:
    """The rows of one victim."""
    rungs = len(watched.steps)
    searches = {f"halved, {count} rungs": (halved(watched, count), count) for count in range(rungs, 2, -1)}
    searches[f"{rungs} rungs, or as it was earlier"] = (halved(watched, rungs, earlier=True), rungs)
    full = Found(watched.chosen, rungs - 1)
    return [
        f"| {watched.victim} | full | {_strength(watched, full)} | 100.0% | - | - | - |",
        *(
            f"| {watched.victim} | {name} | {_strength(watched, found)} | {watched.share(count):.1%} "
            f"| {'yes' if watched.fresh[found.rung, found.setting] <= watched.limit else 'no'} "
            f"| {_at_random(watched, watched.share(count))} |"
            for name, (found, count) in searches.items()
        ),
    ]


def _strength(watched: Watched, found: Found) -> str:
    """What an adversary leaves, and its setting."""
    return f"{_left(watched, found)} | {found.setting}"


def _left(watched: Watched, found: Found) -> str:
    """What an adversary leaves, with its interval."""
    low, high = watched.interval(found)
    return f"{watched.fresh[found.rung, found.setting]:.0f} [{low:.0f} .. {high:.0f}]"


def _at_random(watched: Watched, share: float) -> str:
    """What as many steps leave without any rule, and how often they reach."""
    returns, chance = drawn(watched, int(share * watched.settings))
    return f"{returns @ chance:.0f} | {chance[returns <= watched.limit].sum():.0%}"


def _rungs(watched: Watched) -> list[str]:
    """What each rung says of the end."""
    count = np.array(list(SETS.values()))
    everything = np.einsum("s,srn->rn", count, [watched.deciding, watched.selection, watched.fresh])
    lines = []
    for rung, steps in enumerate(watched.steps):
        best = watched.fresh[rung, watched.selection[rung].argmin()]
        place = 1 + int((watched.deciding[rung] < watched.deciding[rung, watched.chosen]).sum())
        correlation = spearmanr(everything[rung], everything[-1])[0]
        lines.append(f"| {watched.victim} | {steps:,} | {best:.0f} | {place} | {correlation:.2f} |")
    return lines


if __name__ == "__main__":
    main()
