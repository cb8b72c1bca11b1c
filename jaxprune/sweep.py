"""A whole sweep: spec -> population -> returns and certificates -> tables.

A population is every member's arrays stacked on axis 0; what it does is one program, compiled once, whatever
the seeds and sparsities. This file, `evaluation.play` and the searches own that axis.
"""

import time
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from flax import struct
from jaxtyping import Array, Float, Int

from jaxprune import attacks, certification, checkpoint, evaluation, streams, tables
from jaxprune.analysis import decompose, sweet_spots
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.certification import Certified
from jaxprune.envs import Environment
from jaxprune.evaluation import Condition, Tally, Visits
from jaxprune.policy import Agent, Kernels
from jaxprune.population import Members, Population, Saved, environment, members
from jaxprune.progress import Meter, OnProgress, unheard
from jaxprune.pruning import schedule, score
from jaxprune.run_folder import RunFolder
from jaxprune.spec import SweepSpec
from jaxprune.training import learner as learners
from jaxprune.training.arms import read_arm
from jaxprune.training.learner import Learner, Progress, Recipe
from jaxprune.training.ppo import Hyperparameters
from jaxprune.training.settings import PPOSettings

SECONDS_BETWEEN_CHECKPOINTS = 20.0
UPDATES_WHILE_TRAINING = 60


@dataclass(frozen=True)
class Sweep:
    """What came out; see `jaxprune.analysis` for the columns.

    `regret` is derived from `results`, and `verdicts`, the sweet spots, from `regret`.

    population: the trained members. sampled: the clean episodes of the stochastic policies, which the
    certificates are about.
    """

    spec: SweepSpec
    population: Population
    results: pl.DataFrame
    certificates: pl.DataFrame
    curves: pl.DataFrame
    regret: pl.DataFrame
    verdicts: pl.DataFrame
    episodes: pl.DataFrame
    sampled: pl.DataFrame
    folder: Path | None


class Job(NamedTuple):
    """A spec, and what it comes to: worked out once and handed on.

    everyone: all members. trained: those that are trained; where pruning comes after training, one dense one
    per seed.
    """

    spec: SweepSpec
    env: Environment
    everyone: Members
    trained: Members

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of all trained members in one iteration."""
        return self.trained.size * self.spec.environments * self.spec.unroll

    @property
    def training_steps(self) -> int:
        """Environment steps of the whole training."""
        return self.spec.iterations * self.steps_per_iteration

    @property
    def evaluation_steps(self) -> int:
        """The most environment steps that the evaluation can take."""
        spec = self.spec
        budgets = 1 + len(spec.attacks) * len(spec.budgets)
        episodes = budgets * (spec.episodes + spec.selection_episodes) + spec.certify_episodes
        return self.everyone.size * episodes * self.env.horizon


def job(spec: SweepSpec) -> Job:
    """What a spec comes to. Raises SpecError if it cannot run here."""
    everyone = members(spec)
    after = Members(np.arange(spec.seeds), np.zeros(spec.seeds))
    trained = everyone if schedule(spec.schedule).during_training else after
    return Job(spec, environment(spec), everyone, trained)


class Training(struct.PyTreeNode):
    """Everything a training run carries: saved, it goes on bit for bit.

    learners: [member]. history: [iteration, member]. iteration: how many are done; one number for all.
    """

    learners: Learner
    history: Progress
    iteration: Int[Array, ""]


def run(spec: SweepSpec, out: Path | str | None = None, on_progress: OnProgress = unheard) -> Sweep:
    """Train, prune, attack and certify the population of `spec`.

    Args:
        spec: what to do.
        out: a new folder for spec, tables, checkpoints and population; None keeps everything in memory.
        on_progress: called now and then.

    Raises:
        SpecError: the spec cannot run here, or `out` exists or cannot be written.
    """
    asked = job(spec)
    folder = RunFolder.create(Path(out), spec, asked.env.physics) if out is not None else None
    return _run(asked, folder, on_progress)


def resume(out: Path | str, on_progress: OnProgress = unheard) -> Sweep:
    """Go on with an interrupted sweep from its newest checkpoint; the tables are as if it had not stopped.

    Raises:
        SpecError: there is no such run, or this program would not go on with it as it was begun.
    """
    folder = RunFolder.open(Path(out))
    folder.continuable()
    return _run(job(folder.spec()), folder, on_progress)


def _run(job: Job, folder: RunFolder | None, on_progress: OnProgress) -> Sweep:
    with Meter(on_progress) as meter:
        training = train(job, folder, meter)
        population = finished(job, training)
        evaluated = evaluate(job, population, meter)
        sampled, visits = visit(job, population, meter)
        meter.begin("certificates")
        certified = certify(job, population, visits)
    spec, results = job.spec, tables.results(job.spec, population, evaluated)
    regret = decompose(results)
    made = {
        "results": results,
        "certificates": certification.certificates(population, spec.budgets, certified, visits, sampled),
        "curves": tables.curves(spec, job.trained, training.history),
        "regret": regret,
        "verdicts": sweet_spots(regret, alpha=spec.error),
        "episodes": tables.episodes(spec, job.everyone, evaluated),
        "sampled": tables.returns(population, sampled, "sampled"),
    }
    if folder is not None:
        saved = Saved(population.agents, jnp.asarray(population.diverged))
        checkpoint.save(folder.population, int(training.iteration), saved)
        for name, table in made.items():
            folder.write_table(name, table)
    return Sweep(spec=spec, population=population, folder=folder.path if folder else None, **made)


# --- training -------------------------------------------------------------------------------------------


def recipe(spec: SweepSpec) -> Recipe:
    """The part of a spec that shapes the training program."""
    return Recipe(
        environments=spec.environments,
        unroll=spec.unroll,
        epochs=spec.epochs,
        minibatches=spec.minibatches,
        hidden=spec.hidden,
        activation=spec.activation,
        regularizers=read_arm(spec.arm).regularizers,
        schedule=schedule(spec.schedule),
        score=score(spec.ranking),
        scope=spec.scope,
    )


def start(job: Job) -> Training:
    """The population before its first step. Seeds, sparsities and hyper-parameters are traced leaves."""
    count = job.trained.size
    settings = {field.name: getattr(job.spec, field.name) for field in fields(PPOSettings)}
    hyper = Hyperparameters(**settings, regularizers=read_arm(job.spec.arm).leaves)
    hyper = jax.tree.map(lambda leaf: jnp.full(count, leaf, jnp.float32), hyper)

    def one(seed: Int[Array, ""], sparsity: Float[Array, ""], hyper: Hyperparameters) -> Learner:
        return learners.init(job.env, recipe(job.spec), streams.key(seed, "training"), sparsity, hyper)

    population = jax.jit(jax.vmap(one))(
        jnp.asarray(job.trained.seed), jnp.asarray(job.trained.sparsity, jnp.float32), hyper
    )
    _, progress = jax.eval_shape(partial(_iterate, job), population, jnp.zeros((), jnp.int32))
    history = jax.tree.map(lambda leaf: jnp.zeros((job.spec.iterations, *leaf.shape), leaf.dtype), progress)
    return Training(population, history, jnp.zeros((), jnp.int32))


def train(job: Job, folder: RunFolder | None, meter: Meter) -> Training:
    """All iterations, from the newest checkpoint if there is one, in segments of one compiled program.

    Ctrl-C takes effect when the segment in flight is done, and saves it first.
    """
    meter.begin("training")
    training, before = start(job), 0
    if folder is not None and checkpoint.latest(folder.checkpoints) is not None:
        training = checkpoint.load(folder.checkpoints, training)
    length = max(1, job.spec.iterations // UPDATES_WHILE_TRAINING)
    run = jax.jit(partial(segment, job, length), donate_argnums=0)
    saved = time.monotonic()
    while int(training.iteration) < job.spec.iterations:
        training = jax.block_until_ready(run(training))
        done, diverged = int(training.iteration), int(training.learners.diverged.sum())
        try:
            meter.add(
                (done - before) * job.steps_per_iteration,
                note=f"{diverged} diverged" if diverged else "",
                rows=tables.latest(job.trained, training.history, done),
            )
        except KeyboardInterrupt:
            _save(folder, training)
            raise
        before = done
        if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            _save(folder, training)
            saved = time.monotonic()
    _save(folder, training)
    return training


def _save(folder: RunFolder | None, training: Training) -> None:
    if folder is not None:
        checkpoint.save(folder.checkpoints, int(training.iteration), training)


def segment(job: Job, length: int, training: Training) -> Training:
    """`length` iterations, or as many as are left."""

    def step(now: Training) -> Training:
        population, progress = _iterate(job, now.learners, now.iteration)
        history = jax.tree.map(lambda rows, row: rows.at[now.iteration].set(row), now.history, progress)
        return Training(population, history, now.iteration + 1)

    def step_if_any_left(now: Training, _: None) -> tuple[Training, None]:
        # The counter has no member axis, so this stays a true branch under the vmap inside.
        return jax.lax.cond(now.iteration < job.spec.iterations, step, lambda same: same, now), None

    return jax.lax.scan(step_if_any_left, training, length=length)[0]


def _iterate(job: Job, population: Learner, iteration: Int[Array, ""]) -> tuple[Learner, Progress]:
    def one(member: Learner) -> tuple[Learner, Progress]:
        return learners.iterate(job.env, recipe(job.spec), member, iteration, job.spec.iterations)

    population, progress = jax.vmap(one)(population)
    if job.spec.shared_filter:
        twin = job.trained.dense_twin()
        shared = jax.tree.map(lambda leaf: leaf[twin], population.agent.normalizer)
        population = population.replace(agent=population.agent.replace(normalizer=shared))
    return population, progress


def finished(job: Job, training: Training) -> Population:
    """The population at the end of its training, under the largest budget."""
    spec, everyone, learned = job.spec, job.everyone, training.learners

    def prune(learner: Learner, gradients: Kernels | None, sparsity: Float[Array, ""]) -> Agent:
        target = learner.replace(sparsity=sparsity)
        return learner.agent.replace(mask=learners.prune(recipe(spec), target, learner.agent, 1.0, gradients))

    agents, diverged = learned.agent, learned.diverged
    if not schedule(spec.schedule).during_training:
        gradients = jax.jit(jax.vmap(partial(learners.gradients, job.env, recipe(spec))))(learned)
        learned, gradients = jax.tree.map(lambda leaf: leaf[everyone.seed], (learned, gradients))
        agents = jax.jit(jax.vmap(prune))(learned, gradients, jnp.asarray(everyone.sparsity, jnp.float32))
        diverged = learned.diverged
    largest = max(spec.budgets, key=lambda budget: budget.largest)
    return Population(everyone, job.env, agents, np.asarray(diverged), largest, spec)


# --- evaluation -----------------------------------------------------------------------------------------


def conditions(spec: SweepSpec) -> tuple[Condition, ...]:
    """No attack first, then every attack at every budget."""
    eps = jnp.asarray([budget.eps for budget in spec.budgets], jnp.float32)
    return (
        Condition(attacks.make("none"), Ball(jnp.zeros(1), spec.norm)),
        *(Condition(attacks.make(name), Ball(eps, spec.norm)) for name in spec.attacks),
    )


def evaluate(job: Job, population: Population, meter: Meter) -> Tally:
    """Every deterministic member under every attack and budget: [member, budget, episode].

    The last `selection_episodes` episodes are those on which attacks and policies are chosen.
    """
    meter.begin("evaluation")
    episodes = job.spec.episodes + job.spec.selection_episodes
    return _play(job, population, conditions(job.spec), episodes, 0, "evaluation", meter)[0]


def visit(job: Job, population: Population, meter: Meter) -> tuple[Tally, Visits]:
    """Clean episodes of every stochastic member, [member, 1, episode], and the states visited in them."""
    meter.begin("visits")
    clean = Condition(attacks.make("none"), Ball(jnp.zeros(1), job.spec.norm), "sampled")
    episodes = job.spec.certify_episodes
    return _play(job, population, (clean,), episodes, episodes, "visits", meter)


def _play(
    job: Job,
    population: Population,
    under: tuple[Condition, ...],
    episodes: int,
    record: int,
    domain: str,
    meter: Meter,
) -> tuple[Tally, Visits]:
    """The random streams come from the member's seed alone, so members of one seed meet the same starts."""
    keys = jax.vmap(partial(streams.key, domain=domain))(jnp.asarray(job.everyone.seed))
    everywhere = tuple(evaluation.for_all(condition, job.everyone.size) for condition in under)
    return evaluation.play(
        job.env,
        Victim(population.agents, job.spec.space),
        everywhere,
        keys,
        episodes,
        record,
        lambda tally, steps: meter.add(steps, rows=tables.clean_so_far(job.everyone, tally)),
    )


# --- certification --------------------------------------------------------------------------------------


def certify(job: Job, population: Population, visits: Visits) -> list[Certified]:
    """Bounds on every member at the clean states it visited, by budget, pruned and with the mask off."""
    return [certification.certify(population.under(budget), visits) for budget in job.spec.budgets]
