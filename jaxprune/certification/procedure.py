"""The pruning audit from agents to tables.

Where a tight bound, or the attacked distance itself, is larger for a pruned policy than for its dense twin,
pruning has hurt there.
"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Float, Key

from jaxprune import chunks, kept, streams
from jaxprune.analysis import against_dense, at_the_same_states
from jaxprune.attacks import Nothing, Victim
from jaxprune.budget import Ball
from jaxprune.certification.attacked_return import AttackedReturns, attacked_returns
from jaxprune.certification.return_spec import NO_RETURNS, OWN, ReturnSpec
from jaxprune.certification.smoothing import SmoothingSpec, certify_returns, episode_budget
from jaxprune.certification.spec import CertificationSpec
from jaxprune.certification.spent import Spent, spent
from jaxprune.certification.stages import Stage, asked, stages
from jaxprune.certification.states import look_at_all, same_states, state_rows
from jaxprune.certification.tables import certificates
from jaxprune.certification.units import UNITS
from jaxprune.certification.visited import certify
from jaxprune.certification.voting import certify_votes
from jaxprune.claims import check_same, claim
from jaxprune.evaluation import Condition, Tally, Visits, for_all, play_in_chunks
from jaxprune.files import alone
from jaxprune.population import Population
from jaxprune.progress import Meter, OnProgress, unheard
from jaxprune.tables import returns

DISTANCES = ("range", *UNITS.values())
"""Quantities that are distances between a policy and itself: they hold at a state, whoever visited it."""


class Certification(NamedTuple):
    """What came out, as tables.

    states: a row per ball x member x state x bound, the attack's among them. members: their means.
    audit: a row per ball x sparsity x bound, how often pruned is above dense. certificates: as a sweep's, on
    every member's own clean states: global bounds, F, value gaps. returns: a row per member, its clean
    episodes. smoothing: a row per member, None if not asked. votes: a row per member x state, for smoothed
    categorical policies. attacked_returns, attacked_return_curve: see `AttackedReturns`, None if not asked.
    """

    states: pl.DataFrame
    members: pl.DataFrame
    audit: pl.DataFrame
    certificates: pl.DataFrame
    returns: pl.DataFrame
    smoothing: pl.DataFrame | None
    votes: pl.DataFrame | None
    attacked_returns: pl.DataFrame | None
    attacked_return_curve: pl.DataFrame | None


def run(
    spec: CertificationSpec,
    smoothing: SmoothingSpec,
    population: Population,
    on_progress: OnProgress = unheard,
    folder: Path | None = None,
    returned: ReturnSpec = NO_RETURNS,
    chunk: int | None = None,
) -> Certification:
    """Visit, bound, attack and compare.

    Every stage that is done (the clean episodes with the states visited, each member's certificates, each
    member's bounds and attack, the smoothed episodes, the votes) is kept in `folder`, and taken from there
    where the same was stopped before its end: the tables are the same as without the stop. Once they are
    written the folder may be removed.

    chunk: how many members play side by side at most (smoothed ones excepted), which changes no result.

    Raises:
        SpecError: the budget does not fit the observations, a member cannot be certified, nor can its return
            or its smoothed self where that is asked for, the folder holds the stages of something else, or
            another process is at work in it.
    """
    chunks.check(chunk)
    population = spec.applied_to(population)
    smoothing.check_fits(spec.confidence, population)
    returned.check(spec.confidence, population, spec.policy)
    everyone, budget = population.members, population.budget
    if folder is not None:
        claim(folder, _decisive(spec, smoothing, returned, population))
    root = streams.key(spec.seed, "audit")
    keys = jax.vmap(partial(jax.random.fold_in, root))(jnp.asarray(everyone.seed))
    clean_keys, search_keys, *smooth_keys = jax.vmap(partial(jax.random.split, num=4), out_axes=1)(keys)
    with alone(folder), Meter(on_progress) as meter:
        stage = stages(folder, meter.begin)
        tally, visits = _visited(spec, population, clean_keys, stage, meter, chunk)
        certified = certify(population, visits, stage)
        rows = certificates(population, (budget,), (certified,), visits, tally, spec.confidence)
        observation = same_states(visits, everyone, spec.states, population.diverged)
        states = state_rows(population, look_at_all(spec, population, observation, search_keys, stage))
        smooth = votes = None
        if smoothing.smoothing_sigma is not None:
            smooth, votes = _smoothed(
                spec, smoothing, population, tally, observation, smooth_keys, stage, meter
            )
        limits = None
        if returned.return_episodes:
            limits = _returned(returned, population, spec, stage, meter, chunk)
    return Certification(
        states=states,
        members=at_the_same_states(states),
        audit=against_dense(states),
        certificates=_marked(of_policy(rows, spec.policy), population),
        returns=returns(population, tally, spec.policy),
        smoothing=None if smooth is None else _marked(smooth, population),
        votes=None if votes is None else _marked(votes, population),
        attacked_returns=None if limits is None else limits.means,
        attacked_return_curve=None if limits is None else limits.curve,
    )


def check_resumable(
    folder: Path,
    spec: CertificationSpec,
    smoothing: SmoothingSpec,
    population: Population,
    returned: ReturnSpec = NO_RETURNS,
) -> None:
    """Raise SpecError, with the name of the field, where the folder holds the stages of something else."""
    check_same(folder, _decisive(spec, smoothing, returned, spec.applied_to(population)))


def _decisive(
    spec: CertificationSpec, smoothing: SmoothingSpec, returned: ReturnSpec, population: Population
) -> dict[str, Any]:
    """All that decides what the stages hold."""
    return asked(population, **spec.to_dict(), **vars(smoothing), **vars(returned))


def _visited(
    spec: CertificationSpec,
    population: Population,
    keys: Key[Array, " member"],
    stage: Stage,
    meter: Meter,
    chunk: int | None,
) -> tuple[Tally, Visits]:
    """Clean episodes of every member, and the states visited in them, which stay on the host."""
    env, budget, episodes = population.env, population.budget, spec.episodes
    clean = for_all(
        Condition(Nothing(), Ball(jnp.zeros(1), budget.norm), spec.policy), population.members.size
    )
    victims = Victim(population.agents, budget.space)

    def played() -> kept.Arrays:
        tally, visits = play_in_chunks(
            env, victims, (clean,), keys, episodes, episodes, lambda _, steps: meter.add(steps), chunk
        )
        return {"tally": vars(tally), "visits": vars(visits)}

    made = stage("clean", "clean episodes of every member", played)
    return Tally(**made["tally"]), Visits(**made["visits"])


def _smoothed(
    spec: CertificationSpec,
    smoothing: SmoothingSpec,
    population: Population,
    clean: Tally,
    observation: Float[np.ndarray, "member state obs"],
    keys: list[Key[Array, " member"]],
    stage: Stage,
    meter: Meter,
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The limits on returns under Gaussian noise, and the votes of categorical policies."""
    everyone, budget, env = population.members, population.budget, population.env
    victims = Victim(population.agents.pruned(), budget.space)
    returns_keys, vote_keys = keys
    returns_table = certify_returns(
        smoothing,
        env,
        victims,
        everyone,
        returns_keys,
        np.asarray(clean.total)[everyone.dense_twin(), 0].mean(-1, dtype=np.float64) / 2,
        spec.confidence,
        episode_budget(budget.largest, budget.norm, env),
        lambda _, steps: meter.add(steps),
        stage,
    )
    if not population.agents.discrete:
        return returns_table, None
    votes = certify_votes(smoothing, victims, everyone, observation, vote_keys, spec.confidence, stage)
    return returns_table, votes


def returns_under_attack(
    returned: ReturnSpec, population: Population, spec: CertificationSpec, on_progress: OnProgress = unheard
) -> AttackedReturns:
    """The limits on returns under attack at every step, of this population as it is, and nothing else.

    spec: its confidence and its seed; its policy has to be the one that draws.

    Raises:
        SpecError: these members, or so few episodes, can have no such limits.
    """
    returned.check(spec.confidence, population, spec.policy)
    with Meter(on_progress) as meter:
        return _returned(returned, population, spec, stages(None, meter.begin), meter)


def _returned(
    returned: ReturnSpec,
    population: Population,
    spec: CertificationSpec,
    stage: Stage,
    meter: Meter,
    chunk: int | None = None,
) -> AttackedReturns:
    """The limits on returns under attack at every step."""
    root = streams.key(spec.seed, "attacked returns")
    keys = jax.vmap(partial(jax.random.fold_in, root))(jnp.asarray(population.members.seed))

    def made(scale: float) -> Spent:
        name, phase = "attacked-returns", "episodes for certified returns"
        if scale != OWN:
            name, phase = f"{name}-std-{scale}", f"{phase}, {scale:g} std"
        arrays = stage(
            name,
            phase,
            lambda: spent(
                returned, population, keys, lambda _, steps: meter.add(steps), scale, chunk
            )._asdict(),
        )
        return Spent.read(arrays)

    everything = {scale: made(scale) for scale in returned.played}
    return attacked_returns(returned, population, everything, spec.confidence)


def of_policy(certificates: pl.DataFrame, policy: str) -> pl.DataFrame:
    """The certificates that hold of episodes of this policy, `sampled` or `mode`.

    F and the value gaps are about the visits of the stochastic policy; of the deterministic one only the
    distances are left.
    """
    if policy == "mode":
        certificates = certificates.filter(pl.col("quantity").is_in(DISTANCES))
    return certificates.with_columns(policy=pl.lit(policy))


def _marked(table: pl.DataFrame, population: Population) -> pl.DataFrame:
    """The table with the rows of diverged members marked."""
    return table.with_columns(diverged=pl.Series(population.diverged[table["member"].to_numpy()]))
