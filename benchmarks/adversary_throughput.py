"""How close the training of adversaries comes to its physics alone.

`python -m benchmarks.adversary_throughput` writes benchmarks/results/adversary_throughput.md: the attack
search's own program, a full turn of it, and `mujoco.rollout` on the very states and actions that untrained
victims meet, in turns, so that noise of the machine meets both alike.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks.machine import machine_line
from benchmarks.sweep_throughput import THREADS, raw_rollout, record
from jaxprune import device, envs
from jaxprune.attack_search.effort import EFFORTS
from jaxprune.attacks import ATTACKS, Victim
from jaxprune.budget import Ball
from jaxprune.envs import Environment
from jaxprune.policy import agent as agents
from jaxprune.training.adversary import Adversary
from jaxprune.training.search import SEGMENT, Search, networks

RESULT = Path(__file__).parent / "results" / "adversary_throughput.md"
EFFORT = EFFORTS["small"]
VICTIMS = 2


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
    pairs = VICTIMS * np.size(EFFORT.adversaries.learning_rate)
    raw = partial(raw_rollout, env, *met(env, victims, pairs))
    raw_steps = EFFORT.recipe.unroll * EFFORT.recipe.environments * pairs
    found: list[tuple[float, float]] = []
    began = time.perf_counter()

    def heard(steps: int, returns: np.ndarray) -> None:
        nonlocal began
        now = time.perf_counter()
        raw()
        found.append((steps / (now - began), raw_steps / (time.perf_counter() - now)))
        began = time.perf_counter()

    untrained, iterations = ATTACKS[attack].rule(), SEGMENT * (rounds + 2)
    assert isinstance(untrained, Adversary)
    search = Search(
        env,
        victims,
        Ball(jnp.float32(0.15)),
        untrained,
        EFFORT.adversaries,
        EFFORT.recipe,
        iterations,
        seed=0,
        chunk=pairs,
        heard=heard,
    )
    search.advance(search.every_setting, iterations, networks, "rung-1")
    return found[2:]  # the first holds the compilation, the second warms up


def met(env: Environment, victims: Victim, pairs: int) -> tuple[object, np.ndarray]:
    """The states and actions of so many rollouts of the victims, [pair, time, environment, ...]."""
    of = jax.tree.map(lambda leaf: jnp.repeat(leaf, pairs // VICTIMS, axis=0), victims.agent)
    keys = jax.random.split(jax.random.key(1), (pairs, EFFORT.recipe.environments))
    states = jax.vmap(jax.vmap(env.reset))(keys)
    of_all = jax.jit(jax.vmap(partial(record, env, EFFORT.recipe.unroll)))
    states, actions = of_all(of, states, keys[:, 0])
    return states, np.asarray(actions)


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
{recipe.minibatches} minibatches, {THREADS} threads; {count} segments of {SEGMENT} iterations, and \
`mujoco.rollout` with as many simulations after each of them.

| attack | training, thousand env steps/s, median | mujoco.rollout | share, median (lowest .. highest) |
|---|---|---|---|
{chr(10).join(rows)}
"""


if __name__ == "__main__":
    main(tyro.cli(Arguments))
