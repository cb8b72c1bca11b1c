"""Agents as a population, and the folder of a run that was never trained."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxprune import checkpoint, sweep
from jaxprune.budget import Budget
from jaxprune.envs import Environment
from jaxprune.policy import Agent
from jaxprune.population import Members, Population, Saved, members
from jaxprune.run_folder import RunFolder
from jaxprune.spec import SweepSpec


def population(
    agents: Agent,
    env: Environment,
    budget: Budget = Budget(0.1),  # noqa: B008  it is frozen
    trained_by: SweepSpec | None = None,
    diverged: np.ndarray | None = None,
) -> Population:
    """Agents (leaves [member]) as the members of a run, or as so many dense ones of different seeds."""
    count = jax.tree.leaves(agents)[0].shape[0]
    everyone = (
        Members(np.arange(count), np.zeros(count), np.array(["ppo"] * count))
        if trained_by is None
        else members(trained_by)
    )
    lost = np.zeros(count, bool) if diverged is None else diverged
    return Population(everyone, env, agents, lost, budget, trained_by)


def untrained_run(spec: SweepSpec, path: Path) -> None:
    """A run's folder with its members as they are before training, for what reads no table of it."""
    job = sweep.job(spec)
    folder = RunFolder.create(path, spec, job.env.physics)
    untrained = sweep.finished(job, sweep.start(job))
    checkpoint.save(folder.population, 0, Saved(untrained.agents, jnp.asarray(untrained.diverged)))
