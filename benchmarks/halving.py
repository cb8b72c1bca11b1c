"""What successive halving saves of an attack search, and what it costs in strength.

    python -m benchmarks.halving --agents A.npz B.npz --env halfcheetah --search small --steps 200000

searches for adversaries of the same victims twice, all to the end and halved, with the same random streams,
and writes benchmarks/results/halving.md. Asked: the return under the strongest adversary of the halved search
lies within the interval of the full one's, at no more than a fifth of the steps. A search that is stopped
goes on where it was, but its time is then that of the last part.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import tyro

from benchmarks.machine import machine_line
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
    """Search twice and write the table."""
    device.keep_compiled()
    population = victims(arguments)
    full = AttackSearchSpec(
        attacks=arguments.attacks,
        search=arguments.search,
        steps=arguments.steps,
        episodes=arguments.episodes,
    )
    outcomes = [
        searched(arguments, population, spec) for spec in (full, replace(full, rungs=arguments.rungs))
    ]
    RESULT.write_text(report(arguments, population, *outcomes))
    print(RESULT.read_text())


def victims(arguments: Arguments) -> Population:
    """The agents as members of one population, so that one program trains the adversaries of all."""
    each = [Population.from_agent(path, arguments.env) for path in arguments.agents]
    count = len(each)
    everyone = replace(
        each[0].members,
        seed=np.arange(count),
        sparsity=np.zeros(count),
        arm=np.array(["from a file"] * count),
    )
    agents = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(one.agents for one in each))
    return replace(each[0], members=everyone, agents=agents, diverged=np.zeros(count, bool))


def searched(arguments: Arguments, population: Population, spec: AttackSearchSpec) -> Outcome:
    """One search, compilation and measurement included."""
    began = perf_counter()
    found = attack_search.run(spec, population, show, arguments.out / f"rungs-{spec.rungs}")
    minutes = (perf_counter() - began) / 60
    strongest = found.results.filter(attack=STRONGEST, episode_set="fresh").sort("member")
    return Outcome(spec, strongest, found.rungs, minutes)


def show(update: Update) -> None:
    """One line of progress."""
    print(f"{update.phase}: {update.steps_done:,} steps, {update.steps_per_second:,.0f} a second", flush=True)


def report(arguments: Arguments, population: Population, full: Outcome, halved: Outcome) -> str:
    """The result as Markdown."""
    names = " ".join(path.name for path in arguments.agents)
    command = (
        f"python -m benchmarks.halving --agents {names} --env {arguments.env} --attacks {arguments.attacks} "
        f"--search {arguments.search} --steps {arguments.steps} --rungs {arguments.rungs} "
        f"--episodes {arguments.episodes}"
    )
    horizon = population.env.horizon
    lines = []
    for member, path in enumerate(arguments.agents):
        limit = full.strongest["return_high"][member]
        for name, outcome in (("full", full), ("halved", halved)):
            row = outcome.strongest.row(member, named=True)
            training, measuring = outcome.training, outcome.rung_episodes(horizon)
            reached = "-" if outcome is full else "yes" if row["return_mean"] <= limit else "no"
            lines.append(
                f"| {path.stem} | {name} | {row['return_mean']:.0f} [{row['return_low']:.0f} .. "
                f"{row['return_high']:.0f}] | {row['found_by']} | {row['attackers_tried']} "
                f"| {training:,} | {training / full.training:.1%} | {measuring:,} "
                f"| {(training + measuring) / full.training:.1%} | {reached} |"
            )
    return f"""# Successive halving of the attack search

{machine_line(command)}

{population.env.task}, physics {population.env.physics}, {population.budget.in_words()}, deterministic \
victims. Search "{full.spec.search}", {full.spec.settings} settings, {full.spec.steps_per_adversary:,} steps \
per adversary; halved, {halved.spec.rungs} rungs of {halved.spec.rung_sizes} adversaries up to \
{halved.spec.rung_steps} steps each. The strongest is chosen on {full.spec.selection_episodes} episodes and \
measured on {full.spec.episodes} fresh ones, with 95 % intervals (Student's t) of the mean over those. Steps \
are per victim; "at rungs" are those of the {halved.spec.rung_episodes} episodes that decide who goes on, at \
most. "Reached": the halved search's mean is not above the interval of the full one's.

The full search took {full.minutes:.1f} minutes for all victims, the halved one {halved.minutes:.1f}; both \
compile, choose and measure in that time, and the machine did other work as well.

| victim | search | strongest, fresh episodes | found by | tried | training steps | share | at rungs | both \
| reached |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(lines)}

## Strongest against steps

{_curve(arguments, halved)}"""


def _curve(arguments: Arguments, halved: Outcome) -> str:
    """The curve of the halved search, and what it says of twice the steps."""
    lines = [
        f"| {arguments.agents[row['member']].stem} | {row['attack']} | {row['steps']:,} | {row['attackers']} "
        f"| {row['return_mean']:.0f} [{row['return_low']:.0f} .. {row['return_high']:.0f}] "
        f"| {'extrapolated' if row['extrapolated'] else ''} |"
        for row in strongest_by_steps(halved.rungs).iter_rows(named=True)
    ]
    return f"""Chosen on one half of a rung's episodes and measured on the other; in brackets what 95 % of \
resamples of the settings give, which is no confidence interval for the strongest attack there is.

| victim | attack | steps per adversary | in training | strongest | |
|---|---|---|---|---|---|
{chr(10).join(lines)}
"""


if __name__ == "__main__":
    main(tyro.cli(Arguments))
