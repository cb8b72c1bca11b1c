"""Every bound on every member at the same states, beside what an attack finds there.

The states are those that the dense member of each seed visits in clean episodes, in raw units, so pruned and
dense are compared where both can be shown the same.

Every member has a filter of its own, so one eps is another ball of raw observations for each. All is
therefore computed in two balls: `own`, eps in the member's normalised units, and `dense`, the raw ball of the
dense twin. A raw budget is the same ball for all, and there is only `own` then.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray

from jaxprune import kept
from jaxprune.analysis import STATES, validate
from jaxprune.attacks import Mad, Victim
from jaxprune.bounds import BOUNDS, Bound, is_monotone
from jaxprune.budget import Ball
from jaxprune.certification.policy import (
    ARITHMETIC,
    TIGHTEST,
    distances,
    divergence,
    total_variation,
)
from jaxprune.certification.spec import CertificationSpec
from jaxprune.certification.stages import Stage, unkept
from jaxprune.certification.tables import or_infinite
from jaxprune.certification.units import in_units
from jaxprune.certification.visited import largest_distance
from jaxprune.evaluation import Visits
from jaxprune.policy.agent import Agent, in_filter
from jaxprune.population import Members, Population
from jaxprune.pruning import masks

FOUND = "mad"
"""The name of what the attack found, in the column of the bounds."""

OWN, DENSE = "own", "dense"
"""The balls: of the member's own filter, and of its dense twin's."""

REREAD = f"{ARITHMETIC}, weights in the twin's filter"
"""Arithmetic of a bound on a member re-expressed in its twin's filter, where its weights are rounded anew."""


def same_states(
    visits: Visits, everyone: Members, count: int, diverged: Bool[np.ndarray, " member"] | None = None
) -> Float[np.ndarray, "member state obs"]:
    """At most `count` of the clean states of each member's dense twin, evenly spread over its episodes.

    As many as the twin with the fewest has visited; a twin that diverged does not count, and its states
    repeat where it has fewer.
    """
    twin = everyone.dense_twin()
    counted = np.unique(twin)
    if diverged is not None and not diverged[counted].all():
        counted = counted[~diverged[counted]]
    count = min(count, int(visits.alive[counted].sum((1, 2)).min()))
    per_member = [visits.observation[i][visits.alive[i]] for i in twin]
    return np.stack([seen[np.linspace(0, len(seen) - 1, count).astype(int)] for seen in per_member])


class Looked(NamedTuple):
    """One value per member and state, [member, state], in one ball, and the quantity that the values are.

    known: [member], whether this ball was looked at for the member. own_spread: [member], whether the
    distances are in the policy's own standard deviations. arithmetic: [member], of its bounds.
    """

    quantity: str
    bounds: dict[str, Float[np.ndarray, "member state"]]
    found: Float[np.ndarray, "member state"]
    known: Bool[np.ndarray, " member"]
    own_spread: Bool[np.ndarray, " member"]
    arithmetic: list[str]


def look_at_all(
    spec: CertificationSpec,
    population: Population,
    observation: Float[np.ndarray, "member state obs"],
    keys: Key[Array, " member"],
    stage: Stage = unkept,
) -> dict[str, Looked]:
    """All bounds and the attack by ball, one member after the other in one compiled program.

    stage: told of every member, and may keep what comes out.
    """
    budget, everyone = population.budget, population.members
    quantity, agents = in_units(spec.units, population)
    agents = agents.pruned()
    twin, count = everyone.dense_twin().tolist(), len(observation)
    listed = tuple(BOUNDS.values())
    one = partial(_looked, spec, budget.norm, budget.space, listed)
    reread = np.array([not _same_filter(agents, member, twin[member]) for member in range(count)])

    def of_member(member: int) -> kept.Arrays:
        agent = _member(agents, member)
        rest = (observation[member], budget.ball.eps, keys[member])
        own = dense = jax.device_get(one(agent, *rest))
        if reread[member] and budget.space != "raw":
            agent = in_filter(agent, _member(agents, twin[member]).normalizer)
            dense = jax.device_get(one(agent, *rest))
        return {ball: found._asdict() for ball, found in ((OWN, own), (DENSE, dense))}

    seen = []
    for member in range(count):
        phase = f"bounds and attack on member {member + 1} of {count}"
        seen.append(stage(f"bounds-{member}", phase, partial(of_member, member)))
    own_spread = np.ones(count, bool)
    if agents.log_std is not None and population.agents.log_std is not None:
        own_spread = np.all(np.equal(agents.log_std, population.agents.log_std), axis=1)
    known = {OWN: np.ones(count, bool), DENSE: everyone.has_dense_twin()}
    arithmetic = {OWN: [ARITHMETIC] * count, DENSE: [REREAD if other else ARITHMETIC for other in reread]}
    return {
        ball: Looked(
            quantity,
            **jax.tree.map(lambda *values: np.stack(values), *(of_balls[ball] for of_balls in seen)),
            known=known[ball],
            own_spread=own_spread,
            arithmetic=arithmetic[ball],
        )
        for ball in ((OWN,) if budget.space == "raw" else (OWN, DENSE))
    }


def _member(agents: Agent, member: int) -> Agent:
    return jax.tree.map(lambda leaf: leaf[member], agents)


def _same_filter(agents: Agent, member: int, other: int) -> bool:
    """Whether two members read observations through the same filter, bit for bit."""
    mean, variance = agents.normalizer.mean, agents.normalizer.variance
    return all(np.array_equal(leaf[member], leaf[other]) for leaf in (mean, variance))


class Seen(NamedTuple):
    """Every bound at every state, the tightest among them, and the largest distance found there."""

    bounds: dict[str, Float[Array, " state"]]
    found: Float[Array, " state"]


def look(
    spec: CertificationSpec,
    norm: str,
    space: str,
    agent: Agent,
    observation: Float[Array, "state obs"],
    eps: Float[Array, ""],
    key: PRNGKeyArray,
) -> Seen:
    """Every bound and the attack at every state, in the agent's own spread."""
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
    return Seen(bounds | {TIGHTEST: far.tightest()[:, 0]}, found)


@partial(jax.jit, static_argnames=("spec", "norm", "space", "listed"))
def _looked(
    spec: CertificationSpec,
    norm: str,
    space: str,
    listed: tuple[Bound, ...],
    agent: Agent,
    observation: Float[Array, "state obs"],
    eps: Float[Array, ""],
    key: PRNGKeyArray,
) -> Seen:
    """`look`, one program for all members and budgets. listed: all bounds there are, for which it is."""
    return look(spec, norm, space, agent, observation, eps, key)


def state_rows(population: Population, looked: dict[str, Looked]) -> pl.DataFrame:
    """One row per ball x member x state x bound, with what the attack found and the value of the dense twin.

    The twin's value is in its own ball, which is the ball `dense` of all members of the seed.
    """
    tables = [_rows_in(ball, population, seen) for ball, seen in looked.items()]
    return validate(pl.concat(tables).select(STATES.names()), "states")


def _rows_in(ball: str, population: Population, looked: Looked) -> pl.DataFrame:
    everyone, budget = population.members, population.budget
    count, states = looked.found.shape
    twin, has_twin = everyone.dense_twin(), everyone.has_dense_twin()
    achieved = np.asarray(jax.vmap(masks.achieved)(population.agents))
    member = np.repeat(np.arange(count), states)
    place = {
        "member": member,
        "arm": everyone.arm[member],
        "seed": everyone.seed[member],
        "sparsity_asked": everyone.sparsity[member],
        "sparsity": achieved[member].astype(float),
        "state": np.tile(np.arange(states), count),
        "diverged": population.diverged[member],
    }

    def rows(name: str, values: Float[np.ndarray, "member state"], kind: str) -> pl.DataFrame:
        values = or_infinite(values)
        tv, kl = apart(looked.quantity, kind, values, looked.own_spread)
        arithmetic = [looked.arithmetic[i] if kind == "bound" else "float32" for i in member]
        return pl.DataFrame(place).with_columns(
            eps=pl.lit(budget.largest),
            norm=pl.lit(budget.norm),
            space=pl.lit(budget.space),
            ball=pl.lit(ball),
            bound=pl.lit(name),
            quantity=pl.lit(looked.quantity),
            monotone=pl.lit(is_monotone(name)),
            kind=pl.lit(kind),
            arithmetic=pl.Series(arithmetic, dtype=pl.String),
            value=pl.Series(values.ravel(), dtype=pl.Float64),
            tv=pl.Series(tv.ravel(), dtype=pl.Float64),
            kl=pl.Series(kl.ravel(), dtype=pl.Float64),
            found=pl.Series(looked.found.ravel(), dtype=pl.Float64),
            dense=of_twin(values),
            dense_found=of_twin(looked.found),
        )

    def of_twin(values: Float[np.ndarray, "member state"]) -> pl.Series:
        return pl.Series(np.where(has_twin[:, None], values[twin], np.nan).ravel(), dtype=pl.Float64)

    tables = [rows(name, values, "bound") for name, values in looked.bounds.items()]
    table = pl.concat([*tables, rows(FOUND, looked.found, "estimate")])
    table = table.filter(pl.Series(np.tile(looked.known[member], len(tables) + 1)))
    ratio = pl.when(pl.col("found") > 0).then(pl.col("value") / pl.col("found"))
    return table.with_columns(pl.col("dense", "dense_found", "tv", "kl").fill_nan(None), tightness=ratio)


def apart(
    quantity: str,
    kind: str,
    values: Float[np.ndarray, "member state"],
    own_spread: Bool[np.ndarray, " member"],
) -> tuple[Float[np.ndarray, "member state"], Float[np.ndarray, "member state"]]:
    """TV and KL divergence of policies at this distance; NaN where the distance does not decide them.

    A shift in other standard deviations than the policy's own says nothing of its distributions, and a span
    of logits found by an attack bounds the distance from neither side.
    """
    distance, categorical = jnp.asarray(values, jnp.float32), quantity == "range"
    decided = own_spread[:, None] & ~(categorical and kind == "estimate")
    tv, kl = (
        np.where(decided, np.float64(of(distance, categorical=categorical)), np.nan)
        for of in (total_variation, divergence)
    )
    return tv, kl
