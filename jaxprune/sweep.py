"""A whole sweep: spec -> population -> returns and certificates -> tables.

A population is every member's arrays stacked on axis 0; what it does is one program, compiled once, whatever
the seeds and sparsities. This file, `evaluation.play` and the searches own that axis.
"""

import shutil
import time
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from flax import struct
from jaxtyping import Array, Float, Int

from jaxprune import (
    attacks,
    certification,
    checkpoint,
    chunks,
    evaluation,
    kept,
    shift_evaluation,
    streams,
    tables,
)
from jaxprune.analysis import decompose, sweet_spots
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.certification import Certified
from jaxprune.certification.attacked_return import AttackedReturns, attacked_returns
from jaxprune.certification.spent import Spent, spent
from jaxprune.certification.stages import stages
from jaxprune.certification.tables import CONFIDENCE
from jaxprune.evaluation import Condition, Tally, Visits
from jaxprune.files import alone
from jaxprune.job import Group, Job, first_of_each, job, seed_and_arm
from jaxprune.policy import Kernels
from jaxprune.population import Members, Population, Saved
from jaxprune.progress import Meter, OnProgress, unheard
from jaxprune.pruning import schedule
from jaxprune.run_folder import RunFolder
from jaxprune.saving import Saver
from jaxprune.shift_evaluation import ShiftEvaluation
from jaxprune.spec import SweepSpec
from jaxprune.training import learner as learners_of
from jaxprune.training import pruning
from jaxprune.training.arms import read_arm
from jaxprune.training.member import Learner, Progress, no_progress
from jaxprune.training.ppo import Hyperparameters
from jaxprune.training.settings import PPOSettings

Part = TypeVar("Part")

SECONDS_BETWEEN_CHECKPOINTS = 20.0
UPDATES_WHILE_TRAINING = 60


@dataclass(frozen=True)
class Sweep:
    """What came out; see `jaxprune.analysis` for the columns.

    `regret` is derived from `results`, and `verdicts`, the sweet spots, from `regret`.

    population: the trained members. sampled: the clean episodes of the stochastic policies, which the
    certificates are about. layers: where the zeros are. shifted: what is left under shifted dynamics, where
    that was asked for. returned: certified returns under attack at every step, likewise.
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
    layers: pl.DataFrame
    folder: Path | None
    shifted: ShiftEvaluation | None = None
    returned: AttackedReturns | None = None


class Training(struct.PyTreeNode):
    """Everything a training run carries: saved, it goes on bit for bit.

    learners: of each group of the job, [member]. history: [iteration, member], of all trained members.
    iteration: how many are done; one number for all.
    """

    learners: tuple[Learner, ...]
    history: Progress
    iteration: Int[Array, ""]


def run(
    spec: SweepSpec,
    out: Path | str | None = None,
    on_progress: OnProgress = unheard,
    chunk: int | None = None,
) -> Sweep:
    """Train, prune, attack and certify the population of `spec`.

    Args:
        spec: what to do.
        out: a new folder for spec, tables, checkpoints and population; None keeps everything in memory.
        on_progress: called now and then.
        chunk: how many members are trained and evaluated side by side at most; None for all of them.

    Raises:
        SpecError: the spec cannot run here, or `out` exists or cannot be written.
    """
    asked = job(spec).in_chunks(chunk)
    folder = RunFolder.create(Path(out), spec, asked.env.physics) if out is not None else None
    with alone(None if folder is None else folder.path):
        return _run(asked, folder, on_progress)


def resume(out: Path | str, on_progress: OnProgress = unheard, chunk: int | None = None) -> Sweep:
    """Go on with an interrupted sweep from its newest checkpoint; the tables are as if it had not stopped.

    chunk: see `run`; it need not be what it was.

    Raises:
        SpecError: there is no such run, another process is at work on it, or this program would not go on
            with it as it was begun.
    """
    folder = RunFolder.open(Path(out))
    folder.continuable()
    with alone(folder.path):
        return _run(job(folder.spec()).in_chunks(chunk), folder, on_progress)


def _run(job: Job, folder: RunFolder | None, on_progress: OnProgress) -> Sweep:
    with Meter(on_progress, None if folder is None else folder.add_phases) as meter:
        training = train(job, folder, meter)
        population = finished(job, training)
        evaluated = evaluate(job, population, meter)
        sampled, visits = visit(job, population, meter)
        shifted = shift(job, population, meter)
        returned = certified_returns(job, population, folder, meter)
        certified = certify(job, population, visits, meter)
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
        "layers": tables.layers(population),
    }
    if folder is not None:
        saved = Saved(population.agents, jnp.asarray(population.diverged))
        checkpoint.save(folder.population, int(training.iteration), saved)
        asked_for = [part.tables() for part in (shifted, returned) if part is not None]
        for name, table in ChainMap(made, *asked_for).items():
            folder.write_table(name, table)
    path = folder.path if folder else None
    return Sweep(spec=spec, population=population, folder=path, shifted=shifted, returned=returned, **made)


# --- training -------------------------------------------------------------------------------------------


def start(job: Job) -> Training:
    """The population before its first step. Seeds, sparsities and hyper-parameters are traced leaves."""
    learners = tuple(_started(job, group) for group in job.groups)
    history = no_progress(job.spec.iterations, job.trained.size)
    return Training(learners, history, jnp.zeros((), jnp.int32))


def _started(job: Job, group: Group) -> Learner:
    who = job.trained.of(group.rows)

    def one(seed: Int[Array, ""], sparsity: Float[Array, ""], hyper: Hyperparameters) -> Learner:
        return learners_of.init(job.env, group.recipe, streams.key(seed, "training"), sparsity, hyper)

    return jax.jit(jax.vmap(one))(
        jnp.asarray(who.seed), jnp.asarray(who.sparsity, jnp.float32), hyperparameters(job, who)
    )


def hyperparameters(job: Job, who: Members) -> Hyperparameters:
    """The settings of these members and the numbers of their arms: leaves [member]."""
    settings = {field.name: getattr(job.spec, field.name) for field in fields(PPOSettings)}
    each = [
        Hyperparameters(**settings, regularizers=read_arm(arm, job.env.published_eps).leaves)
        for arm in who.arm.tolist()
    ]
    return jax.tree.map(lambda *leaves: jnp.asarray(leaves, jnp.float32), *each)


def gathered(job: Job, parts: Sequence[Part]) -> Part:
    """What the groups have, as leaves [member] of all trained members in their order."""
    order = np.argsort(np.concatenate([group.rows for group in job.groups]))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[order], *parts)


def train(job: Job, folder: RunFolder | None, meter: Meter) -> Training:
    """All iterations, from the newest checkpoint if there is one.

    While nothing is pruned, the members of a seed and arm are one and the same, so one is trained for all.
    """
    meter.begin("training")
    kept, kept_trunk = (None, None) if folder is None else (folder.checkpoints, folder.trunk)
    training = _begun(job, kept)
    if training is None and job.trunk is not None:
        before = _begun(job.trunk, kept_trunk) or start(job.trunk)
        training = fork(job, job.trunk, _train(job.trunk, before, kept_trunk, meter))
        if kept is not None:
            checkpoint.save(kept, int(training.iteration), training, _asked(job))
    if job.trunk is not None:
        meter.begin("training", job.trunk.training_steps)
    if kept_trunk is not None:
        shutil.rmtree(kept_trunk, ignore_errors=True)
    return _train(job, training or start(job), kept, meter)


def _begun(job: Job, kept: Path | None) -> Training | None:
    """The training of the newest checkpoint, if there is one. Raises SpecError for that of another spec."""
    if kept is None or checkpoint.latest(kept) is None:
        return None
    return checkpoint.load(kept, jax.eval_shape(lambda: start(job)), _asked(job))


def fork(job: Job, trunk: Job, trained: Training) -> Training:
    """The members of a job after its trunk has been trained: each as the one that stood for it."""

    def stood_for(who: Members, among: Members) -> np.ndarray:
        first = first_of_each(among)
        return np.array([first[place] for place in seed_and_arm(who)])

    def of_group(group: Group, stood: Group, learners: Learner) -> Learner:
        who = job.trained.of(group.rows)
        rows = stood_for(who, trunk.trained.of(stood.rows))
        as_they_were = jax.tree.map(lambda leaf: leaf[rows], learners)
        return as_they_were.replace(sparsity=jnp.asarray(who.sparsity, jnp.float32))

    everyone = stood_for(job.trained, trunk.trained)
    return Training(
        tuple(map(of_group, job.groups, trunk.groups, trained.learners)),
        jax.tree.map(lambda leaf: leaf[:, everyone], trained.history),
        trained.iteration,
    )


def _train(job: Job, training: Training, kept: Path | None, meter: Meter) -> Training:
    """The iterations that are left, in segments of one compiled program.

    Ctrl-C takes effect when the segment in flight is done, and saves it first. Checkpoints are written beside
    the training.
    """
    length = max(1, job.spec.iterations // UPDATES_WHILE_TRAINING)
    run = jax.jit(partial(segment, job, length), donate_argnums=0)
    saved, before = time.monotonic(), job.begin
    with Saver(kept, _asked(job)) as saver:
        while int(training.iteration) < job.end:
            training = jax.block_until_ready(run(training))
            done = int(training.iteration)
            diverged = sum(int(group.diverged.sum()) for group in training.learners)
            try:
                meter.add(
                    (done - before) * job.steps_per_iteration,
                    note=f"{diverged} diverged" if diverged else "",
                    rows=tables.latest(job.trained, training.history, done),
                )
            except KeyboardInterrupt:
                saver.save(done, training)
                raise
            before = done
            if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                saver.save(done, training)
                saved = time.monotonic()
        saver.save(int(training.iteration), training)
    return training


def _asked(job: Job) -> dict[str, Any]:
    """What a training is of, whichever physics "auto" stood for when it began."""
    return {**job.spec.to_dict(), "physics": job.env.physics}


def segment(job: Job, length: int, training: Training) -> Training:
    """`length` iterations, or as many as are left."""

    def step(now: Training) -> Training:
        population, progress = _iterate(job, now.learners, now.iteration)
        history = jax.tree.map(lambda rows, row: rows.at[now.iteration].set(row), now.history, progress)
        return Training(population, history, now.iteration + 1)

    def step_if_any_left(now: Training, _: None) -> tuple[Training, None]:
        # The counter has no member axis, so this stays a true branch under the vmap inside.
        return jax.lax.cond(now.iteration < job.end, step, lambda same: same, now), None

    return jax.lax.scan(step_if_any_left, training, length=length)[0]


def _iterate(
    job: Job, learners: tuple[Learner, ...], iteration: Int[Array, ""]
) -> tuple[tuple[Learner, ...], Progress]:
    """One iteration of all groups, each one batched program, or one that takes the members chunk by chunk."""

    def one(group: Group, member: Learner) -> tuple[Learner, Progress]:
        return learners_of.iterate(job.env, group.recipe, member, iteration, job.spec.iterations)

    after = [
        chunks.mapped(partial(one, group), members, len(group.rows), job.chunk)
        for group, members in zip(job.groups, learners, strict=True)
    ]
    population = tuple(learner for learner, _ in after)
    if job.spec.shared_filter:
        population = tuple(map(partial(_share_filters, job), job.groups, population))
    return population, gathered(job, [progress for _, progress in after])


def _share_filters(job: Job, group: Group, learners: Learner) -> Learner:
    """Every member of a group behind the filter of its dense twin, which is in the same group."""
    twin = job.trained.of(group.rows).dense_twin()
    shared = jax.tree.map(lambda leaf: leaf[twin], learners.agent.normalizer)
    return learners.replace(agent=learners.agent.replace(normalizer=shared))


def finished(job: Job, training: Training) -> Population:
    """The population at the end of its training, under the largest budget."""
    post_hoc = not schedule(job.spec.schedule).during_training
    agents = gathered(job, [learner.agent for learner in training.learners])
    diverged = gathered(job, [learner.diverged for learner in training.learners])
    if post_hoc:
        source = _trained_rows(job)
        masks = gathered(
            job, [_post_hoc(job, *each) for each in zip(job.groups, training.learners, strict=True)]
        )
        place = np.tile(np.arange(len(job.spec.sparsities)), job.trained.size)
        agents, diverged = jax.tree.map(lambda leaf: leaf[source], (agents, diverged))
        agents = agents.replace(mask=jax.tree.map(lambda leaf: leaf[source, place], masks))
    largest = max(job.spec.budgets, key=lambda budget: budget.largest)
    return Population(job.everyone, job.env, agents, np.asarray(diverged), largest, job.spec)


def _trained_rows(job: Job) -> np.ndarray:
    """For every member, the number of the one that was trained for it: they are ordered alike."""
    return np.repeat(np.arange(job.trained.size), len(job.spec.sparsities))


def _post_hoc(job: Job, group: Group, learners: Learner) -> Kernels:
    """The masks of a dense group at all sparsities asked for: leaves [member, sparsity]."""

    def prune(learner: Learner, sparsity: Float[Array, ""]) -> Kernels:
        target = learner.replace(sparsity=sparsity)
        seen = learners_of.last_evidence(job.env, group.recipe, target)
        ranking = pruning.rank(group.recipe, target, learner.agent, seen)
        return pruning.prune(group.recipe, target, ranking, 1.0)

    # Whatever does not depend on the sparsity has no such axis, the episodes of the last batch among it.
    at_each = jax.vmap(prune, in_axes=(None, 0))
    return jax.jit(jax.vmap(at_each, in_axes=(0, None)))(
        learners, jnp.asarray(job.spec.sparsities, jnp.float32)
    )


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
    meter.begin("evaluation", job.training_steps)
    episodes = job.spec.episodes + job.spec.selection_episodes
    return _play(job, population, conditions(job.spec), episodes, 0, "evaluation", meter)[0]


def visit(job: Job, population: Population, meter: Meter) -> tuple[Tally, Visits]:
    """Clean episodes of every stochastic member, [member, 1, episode], and the states visited in them."""
    meter.begin("visits", job.training_steps + job.evaluation_steps)
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

    def of_chunk(rows: np.ndarray) -> tuple[Tally, Visits]:
        who = job.everyone.of(rows)
        agents = jax.tree.map(lambda leaf: leaf[rows], population.agents)
        return evaluation.play(
            job.env,
            Victim(agents, job.spec.space),
            tuple(evaluation.for_all(condition, who.size) for condition in under),
            jax.vmap(partial(streams.key, domain=domain))(jnp.asarray(who.seed)),
            episodes,
            record,
            lambda tally, steps: meter.add(steps, rows=tables.clean_so_far(who, tally)),
        )

    places = chunks.rows(job.everyone.size, job.chunk)
    played = evaluation.one_after_the_other([of_chunk(rows) for rows in places])
    return jax.tree.map(lambda leaf: leaf[: job.everyone.size], played)


def shift(job: Job, population: Population, meter: Meter) -> ShiftEvaluation | None:
    """Every deterministic member under shifted dynamics, where that was asked for."""
    return None if job.shifts is None else shift_evaluation.evaluate(job.shifts, population, meter, job.chunk)


def certified_returns(
    job: Job, population: Population, folder: RunFolder | None, meter: Meter
) -> AttackedReturns | None:
    """Lower limits on the returns of the stochastic members, where they were asked for.

    What their episodes earned and could be shifted by is kept in the folder, for merges.
    """
    if not job.returned.return_episodes:
        return None
    meter.begin("episodes for certified returns", job.steps - job.return_steps)

    keys = jax.vmap(partial(streams.key, domain="attacked returns"))(jnp.asarray(job.everyone.seed))

    def played(scale: float) -> Spent:
        def make() -> kept.Arrays:
            return spent(
                job.returned, population, keys, lambda _, steps: meter.add(steps), scale, job.chunk
            )._asdict()

        return Spent.read(make() if folder is None else kept.load_or_make(folder.spent(scale), make))

    made = {scale: played(scale) for scale in job.returned.played}
    return attacked_returns(job.returned, population, made, CONFIDENCE)


# --- certification --------------------------------------------------------------------------------------


def certify(job: Job, population: Population, visits: Visits, meter: Meter) -> list[Certified]:
    """Bounds on every member at the clean states it visited, by budget, pruned and with the mask off."""
    told = stages(None, partial(meter.begin, planned=job.steps, part_of="certificates"))
    return [certification.certify(population.under(budget), visits, told) for budget in job.spec.budgets]
