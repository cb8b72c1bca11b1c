"""The pruning audit from agents to tables.

Where a tight bound, or the attacked distance itself, is larger for a pruned policy than for its dense twin,
pruning has hurt there.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from jaxprune import outcome, streams
from jaxprune.analysis import against_dense, at_the_same_states
from jaxprune.attacks import Ball, Nothing, Victim
from jaxprune.audit.population import Population
from jaxprune.audit.smoothing import SmoothingSpec, certify_returns, episode_budget
from jaxprune.audit.spec import UNITS, AuditSpec
from jaxprune.audit.states import look_at_all, same_states, state_rows
from jaxprune.audit.voting import certify_votes
from jaxprune.evaluation import Condition
from jaxprune.play import play
from jaxprune.sweep import certify, members

DISTANCES = ("range", *UNITS.values())
"""Quantities that are distances between a policy and itself: they hold at a state, whoever visited it."""


class Audit(NamedTuple):
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
    spec: AuditSpec,
    smoothing: SmoothingSpec,
    population: Population,
    watch: Callable[[str], None] = lambda phase: None,
) -> Audit:
    """Visit, bound, attack and compare. `watch` hears what is being done."""
    everyone = members(population.spec)
    victims = Victim(population.agents, population.spec.space)
    root = streams.key(spec.seed, "audit")
    keys = jax.vmap(partial(jax.random.fold_in, root))(jnp.asarray(everyone.seed))
    clean_keys, search_keys, smooth_keys, vote_keys = jax.vmap(partial(jax.random.split, num=4), out_axes=1)(
        keys
    )
    watch("clean episodes of every member")
    nothing = Condition(Nothing(), Ball(jnp.zeros(1), population.spec.norm), spec.policy)
    tally, visits = play(population.env, victims, nothing, clean_keys, spec.episodes, spec.episodes)
    watch("certificates at all states visited")
    certified = certify(population.spec, population.agents, population.unmasked, visits)
    certificates = outcome.certificates(
        population.spec,
        population.env,
        everyone,
        population.agents,
        certified,
        visits,
        tally,
        population.diverged,
        spec.confidence,
    )
    observation = same_states(visits, everyone, spec.states, population.diverged)
    states = state_rows(population, look_at_all(spec, population, observation, search_keys, watch))
    smooth = votes = None
    if smoothing.smoothing_sigma is not None:
        watch("smoothed episodes of every member")
        half_of_dense = tally.total[everyone.dense_twin(), 0].mean(-1, dtype=np.float64) / 2
        smooth = certify_returns(
            smoothing,
            population.env,
            victims,
            everyone,
            smooth_keys,
            half_of_dense,
            spec.confidence,
            episode_budget(population.spec.budgets[0], population.spec.norm, population.env),
        )
        if population.agents.log_std is None:
            watch("votes of every member")
            votes = certify_votes(smoothing, victims, everyone, observation, vote_keys, spec.confidence)
    return Audit(
        states=states,
        members=at_the_same_states(states),
        audit=against_dense(states),
        certificates=_marked(of_policy(certificates, spec.policy), population),
        returns=outcome.returns(everyone, tally, spec.policy, population.diverged),
        smoothing=None if smooth is None else _marked(smooth, population),
        votes=None if votes is None else _marked(votes, population),
    )


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
