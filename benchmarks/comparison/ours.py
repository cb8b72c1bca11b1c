"""What jaxprune does of each part, prepared: compiled and warm, so that a call of it measures.

Native physics on a CPU, MJX on an accelerator, as `physics="auto"` has it; so the limit is that of the same.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from math import inf
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator import physics_alone
from benchmarks.comparison.policies import Policies
from benchmarks.comparison.rounds import Measured
from benchmarks.sweep_throughput import raw_rollout, record
from jaxprune import SweepSpec, attacks, evaluation, streams
from jaxprune.attacks import Victim
from jaxprune.bounds import alpha_crown_bound, crown_bound, in_std_units, interval_bound
from jaxprune.budget import Ball
from jaxprune.evaluation import Condition
from jaxprune.job import Job, job
from jaxprune.policy import Agent
from jaxprune.sweep import Training, finished, segment, start
from jaxprune.training.member import no_progress

Measure = Callable[[int], list[Measured]]
"""Measures once; given how many measurements of the row there are already."""

TASK, EPS = "hopper", 0.075
LOOK_ITERATIONS = 10
"""Iterations between two looks at how good the policies are: as many steps as of the peer."""

GOAL_EPISODES = 10
ATTACK_EPISODES = 20
MEMBERS = 10

BOUNDS = {"interval": interval_bound, "crown": crown_bound, "alpha-crown": alpha_crown_bound}


def of_work(work: Callable[[], Any], amount: float) -> Measure:
    """Measures a work that always does as much, after doing it once."""
    jax.block_until_ready(work())

    def measure(_: int) -> list[Measured]:
        began = time.perf_counter()
        jax.block_until_ready(work())
        return [Measured(amount, time.perf_counter() - began)]

    return measure


# --- training ---------------------------------------------------------------------------------------------


@cache
def warm(iterations: int) -> Training:
    """The ten members of the default sweep after so many iterations: no longer where resets put them."""
    asked = job(SweepSpec())
    return jax.block_until_ready(jax.jit(partial(segment, asked, iterations))(start(asked)))


def limit(repetitions: int, ten: Training) -> Measure:
    """The physics alone, of the states and actions that the rollouts of ten members meet.

    On an accelerator, where MJX moves the task: `mjx.step` alone, of the same states and random actions.
    """
    asked, (learners,) = job(SweepSpec()), ten.learners
    steps = asked.steps_per_iteration
    if asked.env.physics != "native":
        state = learners.workers.state.physics
        qpos, qvel = (leaf.reshape(-1, leaf.shape[-1]) for leaf in (state.qpos, state.qvel))
        alone = jax.jit(partial(physics_alone, TASK, asked.spec.unroll))
        return of_work(lambda: [alone(qpos, qvel) for _ in range(repetitions)], repetitions * steps)
    states, actions = jax.jit(jax.vmap(partial(record, asked.env, asked.spec.unroll)))(
        learners.agent.pruned(), learners.workers.state, learners.key
    )
    moves = np.asarray(actions)
    return of_work(
        lambda: [raw_rollout(asked.env, states, moves) for _ in range(repetitions)], repetitions * steps
    )


def training(members: int, iterations: int, ten: Training) -> Measure:
    """Iterations of a sweep of so many members, each of them one of ten that are warm."""
    # The sparsity shapes nothing: a spec of as many seeds has the program, the members bring their own.
    asked = job(SweepSpec(seeds=members, sparsities=(0.5,)))
    (learners,) = jax.tree.map(lambda leaf: leaf[np.arange(members) % MEMBERS], ten.learners)
    begin = Training((learners,), no_progress(asked.spec.iterations, members), ten.iteration)
    run = jax.jit(partial(segment, asked, iterations))
    return of_work(lambda: run(begin), iterations * asked.steps_per_iteration)


# --- time to a return -------------------------------------------------------------------------------------


def until(goal: float, most: int) -> Measure:
    """Ten seeds in one program until all have the clean return, or `most` steps are done.

    One measurement per seed: of the seconds at which it was there, a tenth is its own. Compilation counts,
    looking at how good the policies are does not.
    """

    def measure(_: int) -> list[Measured]:
        asked = job(SweepSpec(seeds=MEMBERS, sparsities=(0.0,), steps=most))
        run = jax.jit(partial(segment, asked, LOOK_ITERATIONS))
        began = time.perf_counter()
        training, seconds = start(asked), 0.0
        there, earned = np.full(MEMBERS, inf), np.zeros(MEMBERS)
        while int(training.iteration) < asked.end and np.isinf(there).any():
            training = jax.block_until_ready(run(training))
            seconds += time.perf_counter() - began
            returns = clean_returns(asked, training)
            new = np.isinf(there)
            there, earned = reached(there, returns, seconds, goal), np.where(new, returns, earned)
            began = time.perf_counter()
        return [Measured(MEMBERS, *each) for each in zip(there.tolist(), earned.tolist(), strict=True)]

    return measure


def reached(there: np.ndarray, returns: np.ndarray, seconds: float, goal: float) -> np.ndarray:
    """When each member was there first, `seconds` being now; infinite for those that are not yet."""
    return np.where(np.isinf(there) & (returns >= goal), seconds, there)


def clean_returns(asked: Job, training: Training) -> np.ndarray:
    """Mean undiscounted raw return [member] of the deterministic policies."""
    population = finished(asked, training)
    tally = _played(asked.env, population.agents, population.members.seed, "none", 0.0, GOAL_EPISODES)[0]
    return tally.total[:, 0].mean(-1)


def _played(env: Any, agents: Agent, seeds: np.ndarray, attack: str, eps: float, episodes: int) -> Any:
    conditions = (Condition(attacks.make(attack), Ball(jnp.full(1, eps))),)
    everywhere = tuple(evaluation.for_all(one, len(seeds)) for one in conditions)
    keys = jax.vmap(partial(streams.key, domain="evaluation"))(jnp.asarray(seeds))
    return evaluation.play(env, Victim(agents), everywhere, keys, episodes)


# --- ten sparsities ---------------------------------------------------------------------------------------


def ten_sparsities(steps: int) -> Measure:
    """A new process that trains ten members at ten sparsities for so many steps each, start to end."""

    def measure(_: int) -> list[Measured]:
        began = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.comparison.ten_sparsities", str(steps)]
        subprocess.run(command, check=True)
        return [Measured(1, time.perf_counter() - began)]

    return measure


# --- attack and bounds ------------------------------------------------------------------------------------


def attacked(policies: Policies, attack: str) -> Measure:
    """All episodes of all members to their end, in one batch."""
    env, seeds = job(SweepSpec()).env, np.arange(policies.members)

    def measure(_: int) -> list[Measured]:
        began = time.perf_counter()
        tally = _played(env, policies.agents(), seeds, attack, EPS, ATTACK_EPISODES)[0]
        seconds = time.perf_counter() - began
        return [Measured(int(tally.length.sum()), seconds, float(tally.total.mean()))]

    measure(0)
    return measure


def bounded(policies: Policies, bound: str, members: int, states: int) -> Measure:
    """The bound on the shift of the mean action at the states of each member."""
    rule = BOUNDS[bound]

    def deltas(weights: Any, std: Any, at: Any) -> Any:
        layers = in_std_units(weights, std)
        return jax.vmap(lambda x: rule(layers, x, EPS).euclidean)(at)

    everyone = jax.tree.map(
        lambda leaf: jnp.asarray(leaf[:members]), (policies.layers(), policies.std, policies.states)
    )
    weights, std, at = everyone
    run, at = jax.jit(jax.vmap(deltas)), at[:, :states]
    mean = float(run(weights, std, at).mean())
    measure = of_work(lambda: run(weights, std, at), members * states)
    return lambda turn: [replace(one, result=mean) for one in measure(turn)]
