"""Trains on an accelerator what is measured on another machine: the populations of other benchmarks.

    python -m benchmarks.train_here --arms d2:eps=0.02:weight=0,d2:eps=0.02:weight=3 --steps 600000

trains all of it as one program and leaves a run folder for each arm, by the name under which
`benchmarks.certified_training` looks for it and with nothing in it but the trained members. They are measured
under native physics, by which the numbers of all benchmarks are, wherever the folders are taken.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro

import jaxprune as jp
from benchmarks.certified_returns import run_name
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
    # A trunk would be a second program to compile, which takes longer than it saves where steps are cheap.
    asked, began = job(spec)._replace(trunk=None, begin=0), time.perf_counter()

    def show(update: Update) -> None:
        means = " ".join(f"{sparsity:g}:{mean:.0f}" for sparsity, mean, _ in update.rows)
        print(f"{time.perf_counter() - began:.0f} s, {update.steps_done:,} steps, {means}", flush=True)

    with Meter(show) as meter:
        population = sweep.finished(asked, sweep.train(asked, None, meter))
    for arm in asked.spec.arms:
        rows = population.members.arm == arm
        own = replace(spec, arms=(arm,))
        name = run_name(arguments.task, arguments.schedule, arm)
        folder = RunFolder.create(arguments.out / name, own, MEASURED)
        agents = jax.tree.map(lambda leaf, rows=rows: leaf[rows], population.agents)
        saved = Saved(agents, jnp.asarray(population.diverged[rows]))
        checkpoint.save(folder.population, asked.end, saved)
        print(f"{folder.path}: {int(rows.sum())} members, {int(population.diverged[rows].sum())} diverged")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
