"""Every adversary of a search at every rung of a halved one: what halving would stop, and what it would lose.

    python -m benchmarks.watched_search --agents A.npz B.npz --env hopper --search published --steps 65536

trains all adversaries of all victims to the end, nobody stopped, and at every rung measures each of them on
three sets of episodes, the same for all: those that would decide who goes on, those on which the strongest
would be chosen, and fresh ones that would be reported. A halved search trains its survivors as if nobody had
been stopped, so what any rule would have found can be read off: see `benchmarks.halving`.

A table for each victim in benchmarks/results/watched_search/. On an accelerator take --chunk as large as
there are adversaries.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import tyro
from jaxtyping import Float

from benchmarks.machine import machine_line
from benchmarks.victims import from_files
from experiments.command import in_one_line
from jaxprune import AttackSearchSpec, Population, device, streams
from jaxprune.attack_search.attackers import search_of
from jaxprune.attack_search.trials import Trials
from jaxprune.attacks import ATTACKS, Victim
from jaxprune.progress import Meter, Update
from jaxprune.training.halving import rung_ends

TABLES = Path(__file__).parent / "results" / "watched_search"

SETS = {"deciding": 4, "selection": 6, "fresh": 10}
"""The episodes of each set, in their order; all are of one call, so that one program plays them."""


@dataclass(frozen=True)
class Arguments:
    """Which victims, and which search."""

    agents: tuple[Path, ...]
    """Files of agents of one task."""
    env: str = "hopper"
    """Their task."""
    attack: str = "sa-rl"
    """The attack."""
    search: str = "published"
    """Effort."""
    steps: int = 65_536
    """Environment steps of training per adversary."""
    rungs: int = 5
    """At how many lengths they are measured, each twice the one before."""
    chunk: int = 72
    """Adversaries side by side."""
    out: Path = TABLES
    """Where the tables are written."""


def main(arguments: Arguments) -> None:
    """Train and measure; the tables are written anew after every rung."""
    device.keep_compiled()
    population = from_files(arguments.agents, arguments.env)
    spec = AttackSearchSpec(
        attacks=arguments.attack,
        search=arguments.search,
        steps=arguments.steps,
        rungs=arguments.rungs,
        chunk=arguments.chunk,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = f"{machine_line(command(arguments))} Physics {population.env.physics}.\n"
    rows: list[pl.DataFrame] = []
    for table in watched(spec, population):
        rows.append(table)
        everything = pl.concat(rows)
        for place, file in enumerate(arguments.agents):
            name = arguments.out / f"{arguments.env}-{file.stem}"
            of_victim = everything.filter(victim=place).drop("victim")
            of_victim.write_csv(f"{name}.csv", float_precision=1)
            Path(f"{name}.txt").write_text(about)


def command(arguments: Arguments) -> str:
    """What was asked for, as it is typed."""
    files = " ".join(file.name for file in arguments.agents)
    return (
        f"python -m benchmarks.watched_search --agents {files} --env {arguments.env} "
        f"--attack {arguments.attack} --search {arguments.search} --steps {arguments.steps} "
        f"--rungs {arguments.rungs} --chunk {arguments.chunk}"
    )


def watched(spec: AttackSearchSpec, population: Population) -> Iterator[pl.DataFrame]:
    """A table per rung: a row per victim and setting, with the mean of each set of episodes."""
    population = population.asked(spec.eps, spec.norm, spec.space)
    victims = Victim(population.agents.pruned(), population.budget.space)
    key = streams.key(spec.seed, "measurement")
    with Meter(show) as meter:
        trials = Trials(population.env, population.budget.ball, spec.chunk, meter, None, spec.policy)
        search = search_of(spec, trials, victims, ATTACKS[spec.attacks[0]])
        learners, done, setting = None, 0, search.every_setting
        for rung, until in enumerate(rung_ends(spec.iterations, spec.rungs), 1):
            meter.begin(f"training to rung {rung}")
            learners = search.advance(setting, until, lambda learner: learner, "", done, learners)
            rules = search.adversary.replace(network=learners.agent.policy)
            meter.begin(f"measuring rung {rung}")
            tally = trials.measure_each("", victims, rules, setting.shape[1], key, sum(SETS.values()))
            yield table(np.asarray(tally.total), rung, until * spec.effort.recipe.steps)
            done = until


def table(returns: Float[np.ndarray, "victim setting episode"], rung: int, steps: int) -> pl.DataFrame:
    """The rows of one rung."""
    victims, settings, _ = returns.shape
    victim, setting = np.indices((victims, settings))
    parts = np.split(returns, np.cumsum([*SETS.values()])[:-1], axis=-1)
    means = {name: part.mean(-1, dtype=np.float64).ravel() for name, part in zip(SETS, parts, strict=True)}
    spread = parts[-1].std(-1, ddof=1, dtype=np.float64).ravel()
    place = {"victim": victim.ravel(), "setting": setting.ravel(), "rung": rung, "steps": steps}
    return pl.DataFrame(place | means | {"fresh_std": spread})


def show(update: Update) -> None:
    """One line of progress."""
    print(
        f"{time.strftime('%X')} {update.phase}: {update.steps_done:,} steps, "
        f"{update.steps_per_second:,.0f} a second",
        flush=True,
    )


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
