"""The whole story of a sweep: spec -> population -> returns and certificates -> tables.

This file alone owns the member axis. A population is every member's arrays stacked on axis 0; what it does is
one program, compiled once, whatever the seeds and sparsities.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxprune import attacks, certification, checkpoint, envs, evaluation, outcome, streams
from jaxprune.analysis import decompose, sweet_spots
from jaxprune.attacks import Ball, Victim
from jaxprune.certification import Certified
from jaxprune.envs import Environment
from jaxprune.errors import SpecError
from jaxprune.evaluation import Condition, Evaluation, Tally
from jaxprune.interrupt import deferred_interrupt
from jaxprune.outcome import Members
from jaxprune.policy import Agent
from jaxprune.pruning import schedule
from jaxprune.run_folder import RunFolder
from jaxprune.spec import SweepSpec
from jaxprune.training import learner as learners
from jaxprune.training import ppo
from jaxprune.training.learner import Learner, Progress, Recipe
from jaxprune.training.ppo import Hyperparameters

SECONDS_BETWEEN_CHECKPOINTS = 20.0
UPDATES_WHILE_TRAINING = 60
EVALUATION_STEPS = 50
"""Steps an evaluation takes before it looks whether an episode is still alive."""


class Update(NamedTuple):
    """Where a sweep stands. rows: (sparsity, mean return over seeds, episodes) of the latest iterations."""

    phase: str
    steps_done: int
    steps_per_second: float
    rows: list[tuple[float, float, int]]


Watch = Callable[[Update], None]


@dataclass(frozen=True)
class Sweep:
    """What came out; see `jaxprune.analysis` for the columns.

    `regret` is derived from `results`, and `verdicts`, the sweet spots, from `regret`.

    sampled: the clean episodes of the stochastic policies, which the certificates are about.
    diverged: [member], whose training left the finite numbers.
    """

    spec: SweepSpec
    physics: str
    results: pl.DataFrame
    certificates: pl.DataFrame
    curves: pl.DataFrame
    regret: pl.DataFrame
    verdicts: pl.DataFrame
    episodes: pl.DataFrame
    sampled: pl.DataFrame
    agents: Agent
    diverged: Bool[np.ndarray, " member"]
    folder: Path | None


class Finished(NamedTuple):
    """A trained population, all [member]: as it acts, with the masks taken off, and who diverged."""

    agents: Agent
    unmasked: Agent
    diverged: Bool[Array, " member"]


@struct.dataclass
class Training:
    """Everything a training run carries: saved, it goes on bit for bit.

    learners: [member]. history: [iteration, member]. iteration: how many are done; one number for all.
    """

    learners: Learner
    history: Progress
    iteration: Int[Array, ""]


def sweep(spec: SweepSpec, out: Path | str | None = None, watch: Watch = lambda update: None) -> Sweep:
    """Train, prune, attack and certify the population of `spec`.

    Args:
        spec: what to do.
        out: a new folder for spec, tables, checkpoints and population; None keeps everything in memory.
        watch: called now and then with the progress.

    Raises:
        SpecError: the spec cannot run here, or `out` exists or cannot be written.
    """
    env = environment(spec)
    folder = RunFolder.create(Path(out), spec, env.physics) if out is not None else None
    return _run(spec, env, folder, watch)


def resume(out: Path | str, watch: Watch = lambda update: None) -> Sweep:
    """Go on with an interrupted sweep from its newest checkpoint; the tables are as if it had not stopped.

    Raises:
        SpecError: there is no such run, or this program would not go on with it as it was begun.
    """
    folder = RunFolder.open(Path(out))
    folder.continuable()
    spec = folder.spec()
    return _run(spec, environment(spec), folder, watch)


def environment(spec: SweepSpec) -> Environment:
    """The environment of a spec. Raises SpecError if the head does not fit the task's actions."""
    env = envs.make(spec.env, spec.physics, charge=spec.charge)
    needed = "categorical" if env.action_space.discrete else "gaussian"
    if spec.head not in ("auto", needed):
        raise SpecError(
            f"head: {spec.head!r} does not fit {spec.env}, whose actions need {needed!r}; use auto"
        )
    return env


class _Clock:
    """Steps per second since the first look, before which the program compiled."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def speed(self, steps: int) -> float:
        """Speed at `steps` done; 0 at the first look, when nothing is known."""
        now = time.monotonic()
        if self._first is None:
            self._first = (steps, now)
            return 0.0
        return (steps - self._first[0]) / (now - self._first[1])


def members(spec: SweepSpec) -> Members:
    """Every seed at every sparsity, seed by seed."""
    seed, sparsity = np.meshgrid(np.arange(spec.seeds), np.array(spec.sparsities), indexing="ij")
    return Members(seed.ravel(), sparsity.ravel())


def total_steps(spec: SweepSpec, env: Environment) -> tuple[int, int]:
    """Environment steps of training, and the most that the evaluation can take."""
    trained = _trained(spec)
    training = len(trained.seed) * spec.iterations * spec.environments * spec.unroll
    budgets = 1 + len(spec.attacks) * len(spec.budgets)
    episodes = budgets * (spec.episodes + spec.selection_episodes) + spec.certify_episodes
    return training, len(members(spec).seed) * episodes * env.horizon


def _run(spec: SweepSpec, env: Environment, folder: RunFolder | None, watch: Watch) -> Sweep:
    training = train(spec, env, folder, watch)
    done = finished(spec, training)
    everyone, diverged = members(spec), np.asarray(done.diverged)
    evaluated = evaluate(spec, env, done.agents, watch)
    sampled, visits = visit(spec, env, done.agents, watch)
    certified = certify(spec, done.agents, done.unmasked, visits)
    results = outcome.results(spec, env, everyone, done.agents, evaluated, diverged)
    regret = decompose(results)
    tables = {
        "results": results,
        "certificates": outcome.certificates(
            spec, env, everyone, done.agents, certified, visits, sampled, diverged
        ),
        "curves": outcome.curves(spec, _trained(spec), training.history),
        "regret": regret,
        "verdicts": sweet_spots(regret, alpha=spec.error),
        "episodes": outcome.episodes(spec, everyone, evaluated),
        "sampled": outcome.returns(everyone, sampled, "sampled", diverged),
    }
    if folder is not None:
        checkpoint.save(folder.population, int(training.iteration), done._asdict())
        for name, table in tables.items():
            folder.write_table(name, table)
    return Sweep(
        spec=spec,
        physics=env.physics,
        agents=done.agents,
        diverged=diverged,
        folder=folder.path if folder else None,
        **tables,
    )


# --- training -------------------------------------------------------------------------------------------


def _trained(spec: SweepSpec) -> Members:
    """The members that are trained: where pruning comes after training, one dense one per seed."""
    if schedule(spec.schedule).during_training:
        return members(spec)
    return Members(np.arange(spec.seeds), np.zeros(spec.seeds))


def recipe(spec: SweepSpec) -> Recipe:
    """The part of a spec that shapes the training program."""
    return Recipe(
        environments=spec.environments,
        unroll=spec.unroll,
        epochs=spec.epochs,
        minibatches=spec.minibatches,
        hidden=spec.hidden,
        activation=spec.activation,
        schedule=schedule(spec.schedule),
        score=spec.ranking,
        scope=spec.scope,
    )


def start(spec: SweepSpec, env: Environment) -> Training:
    """The population before its first step. Seeds, sparsities and hyper-parameters are traced leaves."""
    trained = _trained(spec)
    hyper = Hyperparameters(
        learning_rate=spec.learning_rate,
        anneal=float(spec.anneal),
        discount=spec.discount,
        gae_lambda=spec.gae_lambda,
        clip=spec.clip,
        entropy_weight=spec.entropy_weight,
        value_weight=spec.value_weight,
        max_gradient_norm=spec.max_gradient_norm,
    )
    hyper = jax.tree.map(lambda leaf: jnp.full(len(trained.seed), leaf, jnp.float32), hyper)

    def one(seed: Int[Array, ""], sparsity: Float[Array, ""], hyper: Hyperparameters) -> Learner:
        return learners.init(env, recipe(spec), streams.key(seed, "training"), sparsity, hyper)

    population = jax.jit(jax.vmap(one))(
        jnp.asarray(trained.seed), jnp.asarray(trained.sparsity, jnp.float32), hyper
    )
    history = learners.no_progress((spec.iterations, len(trained.seed)))
    return Training(population, history, jnp.zeros((), jnp.int32))


def train(spec: SweepSpec, env: Environment, folder: RunFolder | None, watch: Watch) -> Training:
    """All iterations, from the newest checkpoint if there is one, in segments of one compiled program.

    Ctrl-C takes effect when the segment in flight is done, and saves it first.
    """
    training = start(spec, env)
    if folder is not None and checkpoint.latest(folder.checkpoints) is not None:
        training = checkpoint.load(folder.checkpoints, training)
    length = max(1, spec.iterations // UPDATES_WHILE_TRAINING)
    run = jax.jit(partial(segment, spec, env, length), donate_argnums=0)
    clock, saved = _Clock(), time.monotonic()
    with deferred_interrupt() as interrupt:
        while int(training.iteration) < spec.iterations:
            training = jax.block_until_ready(run(training))
            if interrupt.pressed:
                _save(folder, training)
                raise KeyboardInterrupt
            if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                _save(folder, training)
                saved = time.monotonic()
            done = int(training.iteration)
            per_iteration = len(_trained(spec).seed) * spec.environments * spec.unroll
            diverged = int(training.learners.diverged.sum())
            watch(
                Update(
                    f"training, {diverged} diverged" if diverged else "training",
                    done * per_iteration,
                    clock.speed(done * per_iteration),
                    outcome.latest(_trained(spec), training.history, done),
                )
            )
    _save(folder, training)
    return training


def _save(folder: RunFolder | None, training: Training) -> None:
    if folder is not None:
        checkpoint.save(folder.checkpoints, int(training.iteration), training)


def segment(spec: SweepSpec, env: Environment, length: int, training: Training) -> Training:
    """`length` iterations, or as many as are left."""

    def step(now: Training) -> Training:
        population, progress = _iterate(spec, env, now.learners, now.iteration)
        history = jax.tree.map(lambda rows, row: rows.at[now.iteration].set(row), now.history, progress)
        return Training(population, history, now.iteration + 1)

    def step_if_any_left(now: Training, _: None) -> tuple[Training, None]:
        # The counter has no member axis, so this stays a true branch under the vmap inside.
        return jax.lax.cond(now.iteration < spec.iterations, step, lambda same: same, now), None

    return jax.lax.scan(step_if_any_left, training, length=length)[0]


def _iterate(
    spec: SweepSpec, env: Environment, population: Learner, iteration: Int[Array, ""]
) -> tuple[Learner, Progress]:
    def one(member: Learner) -> tuple[Learner, Progress]:
        return learners.iterate(env, recipe(spec), member, iteration, spec.iterations)

    population, progress = jax.vmap(one)(population)
    if spec.shared_filter:
        twin = _trained(spec).dense_twin()
        shared = jax.tree.map(lambda leaf: leaf[twin], population.agent.normalizer)
        population = population.replace(agent=population.agent.replace(normalizer=shared))
    return population, progress


def finished(spec: SweepSpec, training: Training) -> Finished:
    """The population at the end of its training."""

    def prune(learner: Learner, sparsity: Float[Array, ""]) -> Agent:
        target = learner.replace(sparsity=sparsity)
        return ppo.acting(learner.agent, learners.prune(recipe(spec), target, learner.agent, 1.0))

    everyone, learned = members(spec), training.learners
    if schedule(spec.schedule).during_training:
        agents = jax.vmap(ppo.acting)(learned.agent, learned.mask)
    else:
        learned = jax.tree.map(lambda leaf: leaf[everyone.seed], learned)
        agents = jax.jit(jax.vmap(prune))(learned, jnp.asarray(everyone.sparsity, jnp.float32))
    return Finished(agents, learned.agent, learned.diverged)


# --- evaluation -----------------------------------------------------------------------------------------


def conditions(spec: SweepSpec) -> tuple[Condition, ...]:
    """No attack first, then every attack at every budget."""
    budgets = jnp.asarray(spec.budgets, jnp.float32)
    return (
        Condition(attacks.make("none"), Ball(jnp.zeros(1), spec.norm)),
        *(Condition(attacks.make(name), Ball(budgets, spec.norm)) for name in spec.attacks),
    )


def evaluate(spec: SweepSpec, env: Environment, agents: Agent, watch: Watch) -> Tally:
    """Every deterministic member under every attack and budget: [member, budget, episode].

    The last `selection_episodes` episodes are those on which attacks and policies are chosen.
    """
    episodes, trained = spec.episodes + spec.selection_episodes, total_steps(spec, env)[0]
    return _play(spec, env, agents, conditions(spec), "evaluation", episodes, 0, trained, watch)[0]


def visit(spec: SweepSpec, env: Environment, agents: Agent, watch: Watch) -> tuple[Tally, evaluation.Visits]:
    """Clean episodes of every stochastic member, [member, 1, episode], and the states visited in them."""
    clean = Condition(attacks.make("none"), Ball(jnp.zeros(1), spec.norm), "sampled")
    episodes = spec.certify_episodes
    before = sum(total_steps(spec, env)) - len(members(spec).seed) * episodes * env.horizon
    return _play(spec, env, agents, (clean,), "visits", episodes, episodes, before, watch)


def _play(
    spec: SweepSpec,
    env: Environment,
    agents: Agent,
    under: tuple[Condition, ...],
    domain: str,
    episodes: int,
    record: int,
    before: int,
    watch: Watch,
) -> tuple[Tally, evaluation.Visits]:
    """Every member until its last episode has ended; `before` are the steps that the sweep has taken so far.

    The random streams come from the member's seed alone, so members of one seed meet the same starts.
    """
    seeds = jnp.asarray(members(spec).seed)

    def begin(agent: Agent, seed: Int[Array, ""]) -> Evaluation:
        return evaluation.begin(env, Victim(agent, spec.space), under, streams.key(seed, domain), episodes)

    def advance(agent: Agent, now: Evaluation) -> tuple[Evaluation, evaluation.Visits]:
        return evaluation.advance(env, Victim(agent, spec.space), under, now, EVALUATION_STEPS, record)

    now = jax.jit(jax.vmap(begin))(agents, seeds)
    run = jax.jit(jax.vmap(advance), donate_argnums=1)
    visits, clock = [], _Clock()
    with deferred_interrupt() as interrupt:
        while now.tally.alive.any():
            now, seen = jax.block_until_ready(run(agents, now))
            if interrupt.pressed:
                raise KeyboardInterrupt
            visits.append(jax.device_get(seen))
            taken = len(visits) * EVALUATION_STEPS * now.tally.alive.size
            done = min(before + taken, sum(total_steps(spec, env)))
            watch(Update(domain, done, clock.speed(taken), outcome.clean_so_far(members(spec), now.tally)))
    return jax.device_get(now.tally), jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *visits)


# --- certification --------------------------------------------------------------------------------------


def certify(spec: SweepSpec, agents: Agent, unmasked: Agent, visits: evaluation.Visits) -> list[Certified]:
    """Bounds on every member at the clean states it visited, by budget, pruned and with the mask off."""
    dense = jnp.asarray(members(spec).dense_twin())

    def one(arguments: tuple[Agent, Agent, Agent, evaluation.Visits, Array], eps: Array) -> Certified:
        agent, whole, twin, seen, key = arguments
        return certification.certify(
            agent, whole, twin, seen, key, Ball(eps, spec.norm), spec.space, spec.discount
        )

    keys = jax.vmap(partial(streams.key, domain="certification"))(jnp.asarray(members(spec).seed))
    twins = jax.tree.map(lambda leaf: leaf[dense], agents)
    # One member at a time: the boxes of all states of all members would not fit a small memory.
    run = jax.jit(lambda arguments, eps: jax.lax.map(partial(one, eps=eps), arguments))
    everything = (agents, unmasked, twins, visits, keys)
    return [jax.device_get(run(everything, jnp.float32(eps))) for eps in spec.budgets]
