"""How close the training of adversaries comes to its physics alone.

`python -m benchmarks.adversary_throughput` writes benchmarks/results/adversary_throughput.md: the attack
search's own program, and `mujoco.rollout` on the very states and actions that it goes through next, in turns,
so that noise of the machine meets both alike.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array

from benchmarks.machine import machine_line
from benchmarks.sweep_throughput import THREADS, raw_rollout, record
from experiments.command import in_one_line
from jaxprune import device, envs
from jaxprune.attack_search.effort import EFFORTS
from jaxprune.attacks import ATTACKS, Victim
from jaxprune.budget import Ball
from jaxprune.envs import Environment
from jaxprune.envs.api import EnvState
from jaxprune.policy import agent as agents
from jaxprune.training.adversary import Adversary, adversary_environment
from jaxprune.training.member import Learner
from jaxprune.training.search import SEGMENT, Search

RESULT = Path(__file__).parent / "results" / "adversary_throughput.md"
EFFORT = EFFORTS["small"]
VICTIMS = 2

WARMING = 2
"""Segments before the first that is timed: one holds the compilation, one warms up."""


@dataclass(frozen=True)
class Arguments:
    """What is measured."""

    task: str = "halfcheetah"
    """Task."""
    rounds: int = 7
    """Segments of training that are timed."""


def main(arguments: Arguments) -> None:
    """Measure and write the table."""
    device.keep_compiled()
    env = envs.make(arguments.task, "native")
    speeds = {name: measure(env, name, arguments.rounds) for name in ("sa-rl", "pa-ad")}
    RESULT.write_text(report(env, speeds))
    print(RESULT.read_text())


def measure(env: Environment, attack: str, rounds: int) -> list[tuple[float, float]]:
    """Environment steps per second of training and of the physics alone, round by round."""
    fresh = jax.vmap(lambda key: agents.init(key, env.observation_size, env.action_space.size))
    victims = Victim(fresh(jax.random.split(jax.random.key(0), VICTIMS)), "normalised")
    untrained = ATTACKS[attack].rule()
    assert isinstance(untrained, Adversary)
    side_by_side = VICTIMS * np.size(EFFORT.adversaries.learning_rate)
    search = Search(
        env,
        victims,
        Ball(jnp.float32(0.15)),
        untrained,
        EFFORT.adversaries,
        EFFORT.recipe,
        iterations=SEGMENT * (rounds + WARMING),
        seed=0,
        chunk=side_by_side,
    )
    found, learners, meet = [], None, meets(search)
    for turn in range(rounds + WARMING):
        began = time.perf_counter()
        until = SEGMENT * (turn + 1)
        learners = search.advance(
            search.every_setting, until, lambda all_of_it: all_of_it, "rung-1", SEGMENT * turn, learners
        )
        jax.block_until_ready(learners)
        trained = time.perf_counter() - began
        states, actions = meet(learners)
        actions = np.asarray(actions)
        began = time.perf_counter()
        raw_rollout(env, states, actions)
        raw = time.perf_counter() - began
        steps = EFFORT.recipe.steps * side_by_side
        found.append((SEGMENT * steps / trained, steps / raw))
    return found[WARMING:]


def meets(search: Search) -> Callable[[Learner], tuple[Any, Array]]:
    """Learners [victim, setting] -> the states that they meet in their next iteration, and what the victims
    do there, [pair, time, environment, ...].
    """

    def one(victim: Victim, learner: Learner) -> tuple[Any, Array]:
        world = adversary_environment(search.env, victim, search.ball, search.adversary)
        agent, now = learner.agent.pruned(), learner.workers.state
        states, actions = record(world, search.recipe.unroll, agent, now, learner.key)
        taken = jax.vmap(jax.vmap(partial(_taken, search, victim)))(states, actions)
        return states.physics.state, taken

    @jax.jit
    def of_all(learners: Learner) -> tuple[Any, Array]:
        met = jax.vmap(jax.vmap(one, in_axes=(None, 0)))(search.victims, learners)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), met)

    return of_all


def _taken(search: Search, victim: Victim, state: EnvState, action: Array) -> Array:
    """What a victim does where the adversary does this, as in `adversary_environment`."""
    key, _ = jax.random.split(state.physics.key)
    x = victim.to_space(state.observation)
    return victim.distribution(search.adversary.show(key, victim, x, search.ball, action)).mode()


def report(env: Environment, speeds: dict[str, list[tuple[float, float]]]) -> str:
    """The result as Markdown."""
    rows = []
    for name, rounds in speeds.items():
        trained, raw = zip(*rounds, strict=True)
        shares = [ours / limit for ours, limit in rounds]
        rows.append(
            f"| {name} | {median(trained) / 1e3:.1f} | {median(raw) / 1e3:.1f} | {median(shares):.0%} "
            f"({min(shares):.0%} .. {max(shares):.0%}) |"
        )
    recipe, count = EFFORT.recipe, min(map(len, speeds.values()))
    return f"""# Throughput of the training of adversaries

{machine_line("python -m benchmarks.adversary_throughput")}

{env.task}, native physics, {VICTIMS} victims x {np.size(EFFORT.adversaries.learning_rate)} settings x \
{recipe.environments} environments, {recipe.unroll} steps per iteration, {recipe.epochs} epochs x \
{recipe.minibatches} minibatches, {THREADS} threads; {count} segments of {SEGMENT} iterations, and after \
each of them `mujoco.rollout` through the states and actions of the next iteration.

| attack | training, thousand env steps/s, median | mujoco.rollout | share, median (lowest .. highest) |
|---|---|---|---|
{chr(10).join(rows)}
"""


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Arguments))
