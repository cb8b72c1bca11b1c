"""Every bound on every member at the same states, beside what an attack finds there.

The states are those that the dense member of each seed visits in clean episodes, in raw units, so pruned and
dense are compared where both can be shown the same.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Float, Key, PRNGKeyArray

from jaxprune import outcome
from jaxprune.analysis import STATES, validate
from jaxprune.attacks import Ball, Mad, Victim
from jaxprune.audit.population import Population, in_units
from jaxprune.audit.spec import UNITS, AuditSpec
from jaxprune.certification import largest_distance
from jaxprune.certify.policy import (
    ARITHMETIC,
    MONOTONE,
    TIGHTEST,
    distances,
    divergence,
    total_variation,
)
from jaxprune.evaluation import Visits
from jaxprune.outcome import Members
from jaxprune.policy import Agent
from jaxprune.pruning import masks
from jaxprune.sweep import members

FOUND = "mad"
"""The name of what the attack found, in the column of the bounds."""


def same_states(visits: Visits, everyone: Members, count: int) -> Float[np.ndarray, "member state obs"]:
    """At most `count` of the clean states of each member's dense twin, evenly spread over its episodes."""
    count = min(count, int(visits.alive.sum((1, 2)).min()))
    per_member = [visits.observation[twin][visits.alive[twin]] for twin in everyone.dense_twin()]
    return np.stack([seen[np.linspace(0, len(seen) - 1, count).astype(int)] for seen in per_member])


class Looked(NamedTuple):
    """One value per member and state, [member, state], and the quantity that the values are."""

    quantity: str
    bounds: dict[str, Float[np.ndarray, "member state"]]
    found: Float[np.ndarray, "member state"]


def look_at_all(
    spec: AuditSpec,
    population: Population,
    observation: Float[np.ndarray, "member state obs"],
    keys: Key[Array, " member"],
    watch: Callable[[str], None] = lambda phase: None,
) -> Looked:
    """All bounds and the attack, one member after the other in one compiled program."""
    (eps,) = population.spec.budgets
    quantity, agents = in_units(spec.units, population.agents, members(population.spec))
    one = jax.jit(partial(look, spec, population.spec.norm, population.spec.space))
    seen = []
    for member in range(len(observation)):
        watch(f"bounds and attack on member {member + 1} of {len(observation)}")
        agent = jax.tree.map(lambda leaf, member=member: leaf[member], agents)
        seen.append(jax.device_get(one(agent, observation[member], jnp.float32(eps), keys[member])))
    bounds, found = jax.tree.map(lambda *values: np.stack(values), *seen)
    return Looked(quantity, bounds, found)


def look(
    spec: AuditSpec,
    norm: str,
    space: str,
    agent: Agent,
    observation: Float[Array, "state obs"],
    eps: Float[Array, ""],
    key: PRNGKeyArray,
) -> tuple[dict[str, Float[Array, " state"]], Float[Array, " state"]]:
    """Every bound at every state, and the largest distance found there, in the agent's own spread."""
    std = None if agent.log_std is None else jnp.exp(agent.log_std)
    far = distances(agent, std, observation[:, None], eps, norm=norm, space=space, local=spec.local)
    bounds = {name: value[:, 0] for name, value in far.at_states().items()}
    search = partial(
        largest_distance,
        Victim(agent, space),
        ball=Ball(eps, norm),
        search=Mad(spec.search_steps),
        starts=spec.starts,
    )
    found = jax.vmap(search)(observation, jax.random.split(key, len(observation)))
    return bounds | {TIGHTEST: far.tightest()[:, 0]}, found


def state_rows(population: Population, looked: Looked) -> pl.DataFrame:
    """One row per member x state x bound, with what the attack found and the value of the dense twin."""
    everyone, (eps,) = members(population.spec), population.spec.budgets
    count, states = looked.found.shape
    twin, has_twin = everyone.dense_twin(), everyone.has_dense_twin()
    achieved = np.asarray(jax.vmap(lambda agent: masks.achieved(agent.policy))(population.agents))
    member = np.repeat(np.arange(count), states)
    place = {
        "member": member,
        "seed": everyone.seed[member],
        "sparsity_asked": everyone.sparsity[member],
        "sparsity": achieved[member].astype(float),
        "state": np.tile(np.arange(states), count),
    }

    def rows(name: str, values: Float[np.ndarray, "member state"], kind: str) -> pl.DataFrame:
        values = outcome.or_infinite(values)
        tv, kl = apart(looked.quantity, kind, values)
        return pl.DataFrame(place).with_columns(
            eps=pl.lit(eps),
            norm=pl.lit(population.spec.norm),
            space=pl.lit(population.spec.space),
            bound=pl.lit(name),
            quantity=pl.lit(looked.quantity),
            monotone=pl.lit(name in MONOTONE),
            kind=pl.lit(kind),
            arithmetic=pl.lit(ARITHMETIC if kind == "bound" else "float32"),
            value=pl.Series(values.ravel(), dtype=pl.Float64),
            tv=pl.Series(tv.ravel(), dtype=pl.Float64),
            kl=pl.Series(kl.ravel(), dtype=pl.Float64),
            found=pl.Series(looked.found.ravel(), dtype=pl.Float64),
            dense=of_twin(values),
            dense_found=of_twin(looked.found),
            ball=pl.lit("own"),
            diverged=pl.lit(False),
        )

    def of_twin(values: Float[np.ndarray, "member state"]) -> pl.Series:
        return pl.Series(np.where(has_twin[:, None], values[twin], np.nan).ravel(), dtype=pl.Float64)

    tables = [rows(name, values, "bound") for name, values in looked.bounds.items()]
    table = pl.concat([*tables, rows(FOUND, looked.found, "estimate")])
    ratio = pl.when(pl.col("found") > 0).then(pl.col("value") / pl.col("found"))
    table = table.with_columns(pl.col("dense", "dense_found", "tv", "kl").fill_nan(None), tightness=ratio)
    return validate(table.select(STATES.names()), "states")


def apart(
    quantity: str, kind: str, values: Float[np.ndarray, "member state"]
) -> tuple[Float[np.ndarray, "member state"], Float[np.ndarray, "member state"]]:
    """TV and KL divergence of policies at this distance; NaN where the distance does not decide them.

    A shift in units of the action says nothing of the spread, and a span of logits found by an attack bounds
    the distance from neither side.
    """
    if quantity == UNITS["action"] or (quantity == "range" and kind == "estimate"):
        return np.full_like(values, np.nan), np.full_like(values, np.nan)
    distance, categorical = jnp.asarray(values, jnp.float32), quantity == "range"
    tv, kl = (of(distance, categorical=categorical) for of in (total_variation, divergence))
    return np.float64(tv), np.float64(kl)
