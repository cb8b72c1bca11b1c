"""Agents of several files or runs as one population, so that one program does the same with all of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxprune import Population, SpecError, envs, parse
from jaxprune.population import Members


def from_files(
    files: tuple[Path, ...], task: str, sparsities: str | tuple[float, ...] = (0.0,)
) -> Population:
    """Every agent at every sparsity, pruned post hoc; the number of the file stands for the seed."""
    world = envs.make(task)
    each = [Population.from_agent(file, world, sparsities=sparsities) for file in files]
    together = of_runs(each)
    seed = np.repeat(np.arange(len(each)), each[0].members.size)
    return replace(together, members=replace(together.members, seed=seed))


def of_runs(each: Sequence[Population]) -> Population:
    """The members of all, which must differ in seed, sparsity or arm; budget and task are the first's."""
    members = [one.members for one in each]
    everyone = Members(
        *(np.concatenate([getattr(one, name) for one in members]) for name in ("seed", "sparsity", "arm"))
    )
    agents = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(one.agents for one in each))
    diverged = np.concatenate([one.diverged for one in each])
    return replace(each[0], members=everyone, agents=agents, diverged=diverged)


def some_of(population: Population, sparsities: str = "", seeds: str = "") -> Population:
    """The members of these sparsities (a comma list) and seeds (first:stop); an empty text takes all.

    Raises SpecError where there are none.
    """
    everyone, chosen = population.members, np.ones(population.members.size, bool)
    if sparsities:
        chosen &= np.isin(everyone.sparsity, parse.numbers("sparsities", sparsities))
    if seeds:
        chosen &= np.isin(everyone.seed, parse.seeds("seeds", seeds))
    if not chosen.any():
        there = population.to_dict()
        raise SpecError(
            f"sparsities, seeds: no member has {sparsities or 'any'} and {seeds or 'any'}; there are "
            f"sparsities {there['sparsities']} and seeds {there['seeds']}"
        )
    return population.of(np.flatnonzero(chosen))
