"""Trains on an accelerator the members and adversaries of a shard of `benchmarks.deciding`.

    python -m benchmarks.learn_here --learned-under mjx --task hopper --seeds 0:24 --schedule gradual ...

leaves a run folder with nothing in it but what has learned. Where that folder is taken, `benchmarks.deciding`
with the same arguments does all the rest of the shard: it trains critics, and selects, measures and certifies
under native physics.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro

import jaxprune as jp
from benchmarks.deciding import LEARNED_ON, Arguments, members, search
from benchmarks.machine import machine_line
from benchmarks.train_here import leave, show, trained
from experiments.command import in_one_line
from jaxprune import checkpoint, chunks, device, envs
from jaxprune.attack_search.attackers import search_of
from jaxprune.attack_search.procedure import of_what
from jaxprune.attack_search.trials import Trials
from jaxprune.attacks import ATTACKS, Victim
from jaxprune.claims import claim
from jaxprune.progress import Meter
from jaxprune.training.ppo import Trainable
from jaxprune.training.search import networks


def main(arguments: Arguments) -> None:
    """Train what of the shard is not there yet."""
    if arguments.learned_under == "native":
        raise jp.SpecError("learned_under: native needs no accelerator; take mjx, or benchmarks.deciding")
    device.keep_compiled()
    spec, folder = members(arguments), arguments.out / arguments.name
    if (folder / LEARNED_ON).is_file():
        return
    if not folder.is_dir():
        leave(trained(spec), spec, folder)
    learn_adversaries(
        search(arguments),
        jp.Population.load(folder),
        envs.make(spec.env, spec.physics),
        folder / "attackers",
    )
    (folder / LEARNED_ON).write_text(machine_line("python -m benchmarks.learn_here"))  # now it is all there


def learn_adversaries(
    spec: jp.AttackSearchSpec, population: jp.Population, world: envs.Environment, folder: Path
) -> None:
    """All adversaries of a search, in another world than the victims will be measured in.

    They are kept as if they had taken turns in the chunks of the search, where it looks for its own. Their
    value networks are left at 0, half of what would travel: only warm starts would ask for them.
    """
    claim(folder, of_what(spec, population))
    there = replace(population, env=world)
    with Meter(show) as meter, ThreadPoolExecutor() as threads:  # one compiles while the other trains
        meter.begin("learning")
        for name, found in zip(
            spec.trained, threads.map(partial(_learned, spec, there, meter), spec.trained), strict=True
        ):
            for number, turn in enumerate(chunks.rows(len(found.log_std), spec.chunk)):
                of_turn = jax.tree.map(lambda leaf, turn=turn: leaf[turn], found)
                checkpoint.save(folder / name / "rung-1" / f"turn-{number}", 0, of_turn)


def _learned(spec: jp.AttackSearchSpec, population: jp.Population, meter: Meter, attack: str) -> Trainable:
    """The adversaries of one attack, leaves [pair], all of them side by side."""
    victims = Victim(population.agents.pruned(), population.budget.space)
    pairs = replace(spec, chunk=spec.settings * population.members.size)
    trials = Trials(population.env, population.budget.ball, pairs.chunk, meter, None, spec.policy)
    search_for = search_of(pairs, trials, victims, ATTACKS[attack])
    found = search_for.advance(search_for.every_setting, spec.iterations, networks, "")
    found = found.replace(value=jax.tree.map(jnp.zeros_like, found.value))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
