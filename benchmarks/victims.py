"""Several agents from files as one population, so that one program attacks them all."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxprune import Population, envs


def from_files(
    files: tuple[Path, ...], task: str, sparsities: str | tuple[float, ...] = (0.0,)
) -> Population:
    """Every agent at every sparsity, pruned post hoc; the number of the file stands for the seed."""
    world = envs.make(task)
    each = [Population.from_agent(file, world, sparsities=sparsities) for file in files]
    members = [one.members for one in each]
    everyone = replace(
        members[0],
        seed=np.repeat(np.arange(len(each)), members[0].size),
        sparsity=np.concatenate([one.sparsity for one in members]),
        arm=np.concatenate([one.arm for one in members]),
    )
    agents = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(one.agents for one in each))
    return replace(each[0], members=everyone, agents=agents, diverged=np.zeros(everyone.size, bool))
