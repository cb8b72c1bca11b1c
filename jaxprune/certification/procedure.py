"""The pruning audit from agents to tables.

Where a tight bound, or the attacked distance itself, is larger for a pruned policy than for its dense twin,
pruning has hurt there.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Float, Key

from jaxprune import streams
from jaxprune.analysis import against_dense, at_the_same_states
from jaxprune.attacks import Nothing, Victim
from jaxprune.budget import Ball
from jaxprune.certification.smoothing import SmoothingSpec, certify_returns, episode_budget
from jaxprune.certification.spec import CertificationSpec
from jaxprune.certification.states import look_at_all, same_states, state_rows
from jaxprune.certification.tables import certificates
from jaxprune.certification.units import UNITS
from jaxprune.certification.visited import certify
from jaxprune.certification.voting import certify_votes
from jaxprune.evaluation import Condition, Tally, for_all, play
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
    categorical policies.
    """

    states: pl.DataFrame
    members: pl.DataFrame
    audit: pl.DataFrame
    certificates: pl.DataFrame
    returns: pl.DataFrame
    smoothing: pl.DataFrame | None
    votes: pl.DataFrame | None


def run(
    spec: CertificationSpec,
    smoothing: SmoothingSpec,
    population: Population,
    on_progress: OnProgress = unheard,
) -> Certification:
    """Visit, bound, attack and compare.

    Raises:
        SpecError: the budget does not fit the observations, or a member cannot be certified.
    """
    population = spec.applied_to(population)
    everyone, budget = population.members, population.budget
    root = streams.key(spec.seed, "audit")
    keys = jax.vmap(partial(jax.random.fold_in, root))(jnp.asarray(everyone.seed))
    clean_keys, search_keys, *smooth_keys = jax.vmap(partial(jax.random.split, num=4), out_axes=1)(keys)
    with Meter(on_progress) as meter:
        meter.begin("clean episodes of every member")
        clean = for_all(Condition(Nothing(), Ball(jnp.zeros(1), budget.norm), spec.policy), everyone.size)
        victims = Victim(population.agents, budget.space)
        episodes = spec.episodes
        tally, visits = play(
            population.env, victims, (clean,), clean_keys, episodes, episodes, lambda _, n: meter.add(n)
        )
        meter.begin("certificates at all states visited")
        certified = certify(population, visits)
        rows = certificates(population, (budget,), (certified,), visits, tally, spec.confidence)
        observation = same_states(visits, everyone, spec.states, population.diverged)
        states = state_rows(population, look_at_all(spec, population, observation, search_keys, meter.begin))
        smooth = votes = None
        if smoothing.smoothing_sigma is not None:
            smooth, votes = _smoothed(spec, smoothing, population, tally, observation, smooth_keys, meter)
    return Certification(
        states=states,
        members=at_the_same_states(states),
        audit=against_dense(states),
        certificates=_marked(of_policy(rows, spec.policy), population),
        returns=returns(population, tally, spec.policy),
        smoothing=None if smooth is None else _marked(smooth, population),
        votes=None if votes is None else _marked(votes, population),
    )


def _smoothed(
    spec: CertificationSpec,
    smoothing: SmoothingSpec,
    population: Population,
    clean: Tally,
    observation: Float[np.ndarray, "member state obs"],
    keys: list[Key[Array, " member"]],
    meter: Meter,
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """The limits on returns under Gaussian noise, and the votes of categorical policies."""
    everyone, budget, env = population.members, population.budget, population.env
    victims = Victim(population.agents.pruned(), budget.space)
    returns_keys, vote_keys = keys
    meter.begin("smoothed episodes of every member")
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
    )
    if not population.agents.discrete:
        return returns_table, None
    meter.begin("votes of every member")
    return returns_table, certify_votes(smoothing, victims, everyone, observation, vote_keys, spec.confidence)


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
