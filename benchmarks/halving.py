"""What successive halving saves of an attack search, and what it costs in strength.

    python -m benchmarks.halving --agents A.npz B.npz --env halfcheetah --search small --steps 200000

searches for adversaries of the same victims twice, all to the end and halved, with the same random streams,
and writes benchmarks/results/halving.md. Asked: the return under the strongest adversary of the halved search
lies within the interval of the full one's, at no more than a fifth of the steps. A search that is stopped
goes on where it was.

Each is done with every number of adversaries side by side that is asked for. Rounding depends on it, and PPO
makes much of rounding: only where that number divides those of all rungs are the survivors to the bit what
they are in the full search.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import polars as pl
import tyro

from benchmarks.machine import machine_line
from benchmarks.victims import from_files
from jaxprune import AttackSearchSpec, Population, attack_search, device
from jaxprune.analysis import STRONGEST, strongest_by_steps
from jaxprune.progress import Update

RESULT = Path(__file__).parent / "results" / "halving.md"


@dataclass(frozen=True)
class Arguments:
    """Which victims, and which search."""

    agents: tuple[Path, ...]
    """Files of agents of one task."""
    env: str = "halfcheetah"
    """Their task."""
    attacks: str = "sa-rl"
    """Attacks, a comma list."""
    search: str = "small"
    """Effort."""
    steps: int = 200_000
    """Environment steps of training per adversary."""
    rungs: int = 5
    """Rungs of the halved search."""
    episodes: int = 20
    """Fresh episodes."""
    chunk: tuple[int, ...] = (2, 72)
    """Adversaries side by side."""
    out: Path = Path("runs/halving")
    """Where the adversaries are kept."""


class Outcome(NamedTuple):
    """One search: its strongest on fresh episodes, what it took, and its table of rungs."""

    spec: AttackSearchSpec
    strongest: pl.DataFrame
    rungs: pl.DataFrame
    minutes: float

    @property
    def training(self) -> int:
        """Environment steps of training per victim."""
        return self.spec.training_steps * len(self.spec.trained)

    def rung_episodes(self, horizon: int) -> int:
        """Environment steps of the rungs' episodes per victim, at most."""
        attackers = sum(self.spec.rung_sizes[:-1]) * len(self.spec.trained)
        return attackers * self.spec.rung_episodes * horizon


def main(arguments: Arguments) -> None:
    """Search twice for each number side by side, and write the table anew after each."""
    device.keep_compiled()
    population = from_files(arguments.agents, arguments.env)
    parts = []
    for chunk in arguments.chunk:
        full = AttackSearchSpec(
            attacks=arguments.attacks,
            search=arguments.search,
            steps=arguments.steps,
            episodes=arguments.episodes,
            chunk=chunk,
        )
        halved = replace(full, rungs=arguments.rungs)
        outcomes = (searched(arguments, population, spec) for spec in (full, halved))
        parts.append(compared(arguments, population, *outcomes))
        RESULT.write_text(report(arguments, population, halved, parts))
    print(RESULT.read_text())


def searched(arguments: Arguments, population: Population, spec: AttackSearchSpec) -> Outcome:
    """One search, compilation and measurement included; the minutes are those of all its parts."""
    folder = arguments.out / f"chunk-{spec.chunk}" / f"rungs-{spec.rungs}"
    folder.mkdir(parents=True, exist_ok=True)
    clock = folder / "minutes.txt"
    began, before = perf_counter(), float(clock.read_text()) if clock.is_file() else 0.0
    try:
        found = attack_search.run(spec, population, show, folder)
    finally:
        minutes = before + (perf_counter() - began) / 60
        clock.write_text(f"{minutes}")
    strongest = found.results.filter(attack=STRONGEST, episode_set="fresh").sort("member")
    return Outcome(spec, strongest, found.rungs, minutes)


def show(update: Update) -> None:
    """One line of progress."""
    print(f"{update.phase}: {update.steps_done:,} steps, {update.steps_per_second:,.0f} a second", flush=True)


def report(arguments: Arguments, population: Population, halved: AttackSearchSpec, parts: list[str]) -> str:
    """The result as Markdown."""
    names = " ".join(path.name for path in arguments.agents)
    command = (
        f"python -m benchmarks.halving --agents {names} --env {arguments.env} --attacks {arguments.attacks} "
        f"--search {arguments.search} --steps {arguments.steps} --rungs {arguments.rungs} "
        f"--episodes {arguments.episodes}"
    )
    return f"""# Successive halving of the attack search

{machine_line(command)}

{population.env.task}, physics {population.env.physics}, {population.budget.in_words()}, deterministic \
victims. Search "{halved.search}", {halved.settings} settings, {halved.steps_per_adversary:,} steps \
per adversary; halved, {halved.rungs} rungs of {halved.rung_sizes} adversaries up to {halved.rung_steps} \
steps each. The strongest is chosen on {halved.selection_episodes} episodes and measured on \
{halved.episodes} fresh ones, with 95 % intervals (Student's t) of the mean over those. Steps are per \
victim; "at rungs" are those of the {halved.rung_episodes} episodes that decide who goes on, at most, and \
"both" counts them as well. "Reached": the halved search's mean is not above the interval of the full one's.

{chr(10).join(parts)}"""


def compared(arguments: Arguments, population: Population, full: Outcome, halved: Outcome) -> str:
    """The two searches side by side, as Markdown."""
    horizon = population.env.horizon
    lines = []
    for member, path in enumerate(arguments.agents):
        limit = full.strongest["return_high"][member]
        for name, outcome in (("full", full), ("halved", halved)):
            row = outcome.strongest.row(member, named=True)
            training, measuring = outcome.training, outcome.rung_episodes(horizon)
            reached = "-" if outcome is full else "yes" if row["return_mean"] <= limit else "no"
            last = outcome.rungs.filter(member=member, rung=outcome.spec.rungs)
            best = last["attacker"][last["return_mean"].arg_min()]
            lines.append(
                f"| {path.stem} | {name} | {row['return_mean']:.0f} [{row['return_low']:.0f} .. "
                f"{row['return_high']:.0f}] | {best} | {row['attackers_tried']} | {training:,} "
                f"| {training / full.training:.1%} | {measuring:,} "
                f"| {(training + measuring) / full.training:.1%} | {reached} |"
            )
    return f"""## {full.spec.chunk} side by side

The full search took {full.minutes:.1f} minutes for all victims, the halved one {halved.minutes:.1f}; both \
compile, choose and measure in that time, and the machine did other work as well.

| victim | search | strongest, fresh episodes | setting | tried | training steps | share | at rungs | both \
| reached |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

{_curve(arguments, halved)}"""


def _curve(arguments: Arguments, halved: Outcome) -> str:
    """The curve of the halved search, and what it says of twice the steps."""
    lines = [
        f"| {arguments.agents[row['member']].stem} | {row['attack']} | {row['steps']:,} | {row['attackers']} "
        f"| {row['return_mean']:.0f} [{row['return_low']:.0f} .. {row['return_high']:.0f}] "
        f"| {'extrapolated' if row['extrapolated'] else ''} |"
        for row in strongest_by_steps(halved.rungs).iter_rows(named=True)
    ]
    return f"""Strongest against steps, chosen on one half of a rung's episodes and measured on the other; \
in brackets what 95 % of resamples of the settings give, which is no confidence interval for the strongest \
attack there is.

| victim | attack | steps per adversary | in training | strongest | |
|---|---|---|---|---|---|
{chr(10).join(lines)}
"""


if __name__ == "__main__":
    main(tyro.cli(Arguments))
