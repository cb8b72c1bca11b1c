"""Trains on an accelerator what is measured on another machine: the populations of other benchmarks.

    python -m benchmarks.train_here --arms d2:eps=0.02:weight=0,d2:eps=0.02:weight=3 --steps 600000

trains all of it as one program and leaves a run folder for each arm, by the name under which
`benchmarks.certified_training` looks for it and with nothing in it but the trained members. They are measured
under native physics, by which the numbers of all benchmarks are, wherever the folders are taken.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tyro

import jaxprune as jp
from benchmarks.certified_returns import run_name
from experiments.command import in_one_line
from jaxprune import checkpoint, sweep
from jaxprune.job import job
from jaxprune.population import Saved
from jaxprune.progress import Meter, Update
from jaxprune.run_folder import RunFolder

TRAINED, MEASURED = "mjx", "native"
"""The physics under which the members learn, and under which they are to be measured."""


@dataclass(frozen=True)
class Arguments:
    """A population, and how its training is laid out."""

    task: str = "hopper"
    """Task."""
    arms: str = "ppo"
    """Training arms, a comma list."""
    seeds: str = "0:6"
    """Which seeds, first:stop without the stop."""
    sparsities: str = "0,0.7,0.9"
    """Sparsities."""
    schedule: str = "gradual"
    """When weights go."""
    steps: int = 1_000_000
    """Environment steps of training per member."""
    environments: int = 64
    """Parallel environments per member: many, for a step of a batch takes an accelerator as long with few."""
    unroll: int = 32
    """Steps each takes in one iteration."""
    out: Path = Path("runs/certified_training/0-6")
    """Where the run folders are made."""


def main(arguments: Arguments) -> None:
    """Train, and write a folder for each arm."""
    spec = jp.SweepSpec(
        env=arguments.task,
        arms=arguments.arms,
        seeds=arguments.seeds,
        sparsities=arguments.sparsities,
        schedule=arguments.schedule,
        steps=arguments.steps,
        physics=TRAINED,
        environments=arguments.environments,
        unroll=arguments.unroll,
        attacks="mad",
    )
    population = trained(spec)
    for arm in dict.fromkeys(population.members.arm.tolist()):
        of_arm = population.of(np.flatnonzero(population.members.arm == arm))
        name = run_name(arguments.task, arguments.schedule, arm)
        leave(of_arm, replace(spec, arms=(arm,)), arguments.out / name)


def trained(spec: jp.SweepSpec) -> jp.Population:
    """All members of a spec, trained as one program."""
    # A trunk would be a second program to compile, which takes longer than it saves where steps are cheap.
    asked = job(spec)._replace(trunk=None, begin=0)
    with Meter(show) as meter:
        return sweep.finished(asked, sweep.train(asked, None, meter))


def leave(population: jp.Population, spec: jp.SweepSpec, path: Path) -> None:
    """A run folder of these members, which are those of the spec, with nothing else in it yet."""
    folder = RunFolder.create(path, spec, MEASURED)
    saved = Saved(population.agents, jnp.asarray(population.diverged))
    checkpoint.save(folder.population, job(spec).end, saved)
    print(f"{path}: {population.members.size} members, {int(population.diverged.sum())} diverged")


def show(update: Update) -> None:
    """A line of progress."""
    means = " ".join(f"{sparsity:g}:{mean:.0f}" for sparsity, mean, _ in update.rows)
    print(f"{time.strftime('%X')} {update.phase}: {update.steps_done:,} steps, {means}", flush=True)


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
