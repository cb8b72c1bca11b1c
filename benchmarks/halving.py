"""What successive halving saves of an attack search, and what it costs in strength.

    python -m benchmarks.halving --agents A.npz B.npz --env halfcheetah --search small --steps 200000

searches for adversaries of each victim twice, all to the end and halved, with the same random streams, and
writes benchmarks/results/halving_TASK.md. Asked: the return under the strongest adversary of the halved
search lies within the interval of the full one's, at no more than a fifth of the steps. A search that is
stopped goes on where it was.

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

RESULTS = Path(__file__).parent / "results"


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


class Pair(NamedTuple):
    """Both searches for adversaries of one victim."""

    victim: Path
    full: Outcome
    halved: Outcome


def main(arguments: Arguments) -> None:
    """Search twice for each victim and number side by side, and write the table anew after each."""
    device.keep_compiled()
    pairs: dict[int, list[Pair]] = {chunk: [] for chunk in arguments.chunk}
    for victim in arguments.agents:
        population = from_files((victim,), arguments.env)
        for chunk in arguments.chunk:
            full = AttackSearchSpec(
                attacks=arguments.attacks,
                search=arguments.search,
                steps=arguments.steps,
                episodes=arguments.episodes,
                chunk=chunk,
            )
            halved = replace(full, rungs=arguments.rungs)
            outcomes = (searched(arguments, victim, population, spec) for spec in (full, halved))
            pairs[chunk].append(Pair(victim, *outcomes))
            result = RESULTS / f"halving_{arguments.env}.md"
            result.write_text(report(arguments, population, halved, pairs))
    print(result.read_text())


def searched(arguments: Arguments, victim: Path, population: Population, spec: AttackSearchSpec) -> Outcome:
    """One search, compilation and measurement included; the minutes are those of all its parts."""
    folder = arguments.out / arguments.env / victim.stem / f"chunk-{spec.chunk}" / f"rungs-{spec.rungs}"
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


def report(
    arguments: Arguments, population: Population, halved: AttackSearchSpec, pairs: dict[int, list[Pair]]
) -> str:
    """The result as Markdown."""
    names = " ".join(pair.victim.name for pair in pairs[arguments.chunk[0]])  # of those that are done
    command = (
        f"python -m benchmarks.halving --agents {names} --env {arguments.env} --attacks {arguments.attacks} "
        f"--search {arguments.search} --steps {arguments.steps} --rungs {arguments.rungs} "
        f"--episodes {arguments.episodes} --chunk {' '.join(map(str, arguments.chunk))}"
    )
    parts = [
        compared(chunk, of_chunk, population.env.horizon) for chunk, of_chunk in pairs.items() if of_chunk
    ]
    return f"""# Successive halving of the attack search

{machine_line(command)}

{population.env.task}, physics {population.env.physics}, {population.budget.in_words()}, deterministic \
victims. Search "{halved.search}", {halved.settings} settings, {halved.steps_per_adversary:,} steps \
per adversary; halved, {halved.rungs} rungs of {halved.rung_sizes} adversaries up to {halved.rung_steps} \
steps each. The strongest is chosen on {halved.selection_episodes} episodes and measured on \
{halved.episodes} fresh ones, with 95 % intervals (Student's t) of the mean over those. Steps are per \
victim; "at rungs" are those of the {halved.rung_episodes} episodes that decide who goes on, at most, and \
"both" counts them as well. "Reached": the halved search's mean is not above the interval of the full one's.
Minutes are of a whole search, which also compiles, chooses and measures, and of a machine that did other \
work as well.

{chr(10).join(parts)}"""


def compared(chunk: int, pairs: list[Pair], horizon: int) -> str:
    """The two searches of every victim side by side, as Markdown."""
    lines = []
    for victim, full, halved in pairs:
        limit = full.strongest["return_high"][0]
        for name, outcome in (("full", full), ("halved", halved)):
            row = outcome.strongest.row(0, named=True)
            training, measuring = outcome.training, outcome.rung_episodes(horizon)
            reached = "-" if outcome is full else "yes" if row["return_mean"] <= limit else "no"
            last = outcome.rungs.filter(rung=outcome.spec.rungs)
            best = last["attacker"][last["return_mean"].arg_min()]
            lines.append(
                f"| {victim.stem} | {name} | {row['return_mean']:.0f} [{row['return_low']:.0f} .. "
                f"{row['return_high']:.0f}] | {best} | {row['attackers_tried']} | {training:,} "
                f"| {training / full.training:.1%} | {measuring:,} "
                f"| {(training + measuring) / full.training:.1%} | {outcome.minutes:.1f} | {reached} |"
            )
    return f"""## {chunk} side by side

| victim | search | strongest, fresh episodes | setting | tried | training steps | share | at rungs | both \
| minutes | reached |
|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

{_curve(pairs)}"""


def _curve(pairs: list[Pair]) -> str:
    """The curves of the halved searches, and what they say of twice the steps."""
    lines = [
        f"| {victim.stem} | {row['attack']} | {row['steps']:,} | {row['attackers']} "
        f"| {row['return_mean']:.0f} [{row['return_low']:.0f} .. {row['return_high']:.0f}] "
        f"| {'extrapolated' if row['extrapolated'] else ''} |"
        for victim, _, halved in pairs
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
