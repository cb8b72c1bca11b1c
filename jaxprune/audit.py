"""The pruning audit: every bound on every member at the same states, beside what an attack finds there.

Where a tight bound, or the attacked distance itself, is larger for a pruned policy than for its dense twin,
pruning has hurt there. The states are those that the dense member of each seed visits in clean episodes, in
raw units, so pruned and dense are compared where both can be shown the same.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Float, Key, PRNGKeyArray

from jaxprune import attacks, outcome, smoothed
from jaxprune.analysis import STATES, above_dense, at_the_same_states, validate
from jaxprune.attacks import NORMS, SPACES, Ball, Mad, Nothing, Victim
from jaxprune.certification import largest_distance
from jaxprune.certify import alpha_crown_bound, branching_bound, check_finite
from jaxprune.certify.policy import (
    ARITHMETIC,
    LOCAL_BOUNDS,
    MONOTONE,
    TIGHTEST,
    Bounds,
    distances,
    global_bounds,
)
from jaxprune.envs import Environment
from jaxprune.errors import SpecError, unknown_name
from jaxprune.evaluation import Condition, Tally, Visits
from jaxprune.outcome import Members
from jaxprune.play import play
from jaxprune.policy import Agent, layers
from jaxprune.pruning import masks, score
from jaxprune.smoothed import SmoothingSpec
from jaxprune.spec import PUBLISHED_EPS, SweepSpec
from jaxprune.sweep import certify, members

UNITS = {"own": "delta", "dense": "delta_dense", "action": "delta_action"}
"""The standard deviations that a Gaussian policy's shifts are measured in, and how tables name the result."""

BOUNDS: Bounds = LOCAL_BOUNDS | {"alpha-crown": alpha_crown_bound, "branching": branching_bound}
"""All bounds at one state, by name."""

FOUND = "mad"
"""The name of what the attack found, in the column of the bounds."""


@dataclass(frozen=True)
class AuditSpec:
    """Which bounds, in which ball, at how many states, and how hard an attack searches there.

    Raises SpecError on construction for anything that could not run.
    """

    eps: str | float = "published"
    """Budget. published: the one of the published tables for the task; for a sweep's run, its largest budget
    in its own norm and space."""
    norm: str = "linf"
    """Norm of the ball: linf or l2."""
    space: str = "normalised"
    """Space in which eps lives: normalised (observations in standard deviations) or raw."""
    bounds: str | tuple[str, ...] = "interval,jacobian,crown,alpha-crown,branching"
    """Bounds at each state, a comma list; the global ones are always there."""
    units: str = "dense"
    """Standard deviations that the shift of a Gaussian policy is measured in when bounds are compared: dense
    (those of the dense policy of the seed, so that a wider policy does not pass for a more robust one), own,
    or action (units of the action; the only ones for a deterministic policy)."""
    states: int = 200
    """States of each seed at which bounds and attack are compared."""
    starts: int = 20
    """Random starts of the attack (MAD) at each state."""
    search_steps: int = 30
    """Steps of the attack from each start."""
    alpha_steps: int = 20
    """Steps of Adam in alpha-crown."""
    nodes: int = 32
    """Parts that branching splits the ball into."""
    episodes: int = 10
    """Clean episodes of every member, behind F and the value gaps."""
    confidence: float = 0.95
    """Probability, over the episodes, that the value gaps and the smoothed returns hold."""
    seed: int = 0
    """Decides all random streams."""

    def __post_init__(self) -> None:
        names = self.bounds.split(",") if isinstance(self.bounds, str) else self.bounds
        object.__setattr__(self, "bounds", tuple(dict.fromkeys(name.strip() for name in names)))
        for name in self.bounds:
            if name not in BOUNDS:
                raise unknown_name("bounds", name, BOUNDS)
        for field, known in (("norm", NORMS), ("space", SPACES), ("units", UNITS)):
            if getattr(self, field) not in known:
                raise unknown_name(field, getattr(self, field), known)
        for field, least in {
            "states": 1,
            "starts": 1,
            "search_steps": 1,
            "alpha_steps": 1,
            "nodes": 1,
            "episodes": 2,
        }.items():
            if getattr(self, field) < least:
                raise SpecError(f"{field}: {getattr(self, field)} must be at least {least}")
        if not 0 < self.confidence < 1:
            raise SpecError(f"confidence: {self.confidence} must lie between 0 and 1, e.g. 0.95")
        if self.eps != "published":
            object.__setattr__(self, "eps", _radius(self.eps))

    @property
    def local(self) -> Bounds:
        """The bounds asked for, with their budgets of steps and nodes."""
        settled = {
            "alpha-crown": partial(alpha_crown_bound, steps=self.alpha_steps),
            "branching": partial(branching_bound, nodes=self.nodes),
        }
        return {name: settled.get(name, BOUNDS[name]) for name in self.bounds}

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


class Population(NamedTuple):
    """Agents to audit, leaves [member]; `spec` says who they are and in which ball they are certified.

    unmasked: the same weights without their mask.
    """

    spec: SweepSpec
    env: Environment
    agents: Agent
    unmasked: Agent


class Audit(NamedTuple):
    """What came out, as tables.

    states: a row per member x state x bound, the attack's among them. members: their means.
    audit: a row per sparsity x bound, how often pruned is above dense. certificates: as a sweep's, on every
    member's own clean states: global bounds, F, value gaps. returns: a row per member, its clean episodes.
    smoothing: a row per member, None if not asked.
    """

    states: pl.DataFrame
    members: pl.DataFrame
    audit: pl.DataFrame
    certificates: pl.DataFrame
    returns: pl.DataFrame
    smoothing: pl.DataFrame | None


def of_run(
    spec: AuditSpec, trained: SweepSpec, env: Environment, agents: Agent, unmasked: Agent
) -> Population:
    """The members of a sweep as they were trained."""
    if spec.eps == "published":
        ball = {"eps": (max(trained.budgets),), "norm": trained.norm, "space": trained.space}
    else:
        ball = {"eps": (spec.eps,), "norm": spec.norm, "space": spec.space}
    return _population(spec, asdict(trained) | ball, env, agents, unmasked)


def of_agent(spec: AuditSpec, env: Environment, agent: Agent, sparsities: str) -> Population:
    """One dense agent (leaves [1]) pruned post hoc by magnitude, layer by layer, and not trained again."""
    if spec.eps == "published" and env.task not in PUBLISHED_EPS:
        raise SpecError(f"eps: no budget is published for {env.task}; give a number")
    eps = PUBLISHED_EPS[env.task] if spec.eps == "published" else spec.eps
    settings = {
        "env": env.task,
        "sparsities": sparsities,
        "schedule": "posthoc",
        "eps": (eps,),
        "norm": spec.norm,
        "space": spec.space,
        "activation": agent.activation,
    }
    asked = SweepSpec(**settings).sparsities
    if 0 not in asked:
        raise SpecError("sparsities: 0, the dense policy that the others are compared with, is missing")
    dense = jax.tree.map(lambda leaf: leaf[0], agent)
    agents = jax.vmap(partial(prune, dense))(jnp.asarray(asked, jnp.float32))
    unmasked = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(asked), axis=0), agent)
    return _population(spec, settings, env, agents, unmasked)


def prune(agent: Agent, sparsity: Float[Array, ""]) -> Agent:
    """The agent without the smallest weights of each layer of its policy."""
    magnitude = score("magnitude", masks.kernels(agent.policy), jax.random.key(0))
    return agent.replace(policy=masks.apply(agent.policy, masks.lowest_removed(magnitude, sparsity)))


def run(
    spec: AuditSpec,
    smoothing: SmoothingSpec,
    population: Population,
    watch: Callable[[str], None] = lambda phase: None,
) -> Audit:
    """Visit, bound, attack and compare. `watch` hears what is being done."""
    everyone = members(population.spec)
    victims = Victim(population.agents, population.spec.space)
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(spec.seed), seed))(
        jnp.asarray(everyone.seed)
    )
    clean_keys, search_keys, smooth_keys = jax.vmap(partial(jax.random.split, num=3), out_axes=1)(keys)
    watch("clean episodes of every member")
    nothing = Condition(Nothing(), Ball(jnp.zeros(1), population.spec.norm))
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
        spec.confidence,
    )
    looked = look_at_all(spec, population, same_states(visits, everyone, spec.states), search_keys, watch)
    states = state_rows(population, looked)
    smooth = None
    if smoothing.smoothing_sigma is not None:
        watch("smoothed episodes of every member")
        half_of_dense = tally.total[everyone.dense_twin(), 0].mean(-1, dtype=np.float64) / 2
        smooth = smoothed.certify(
            smoothing, population.env, victims, everyone, smooth_keys, half_of_dense, spec.confidence
        )
    return Audit(
        states=states,
        members=at_the_same_states(states),
        audit=above_dense(states),
        certificates=certificates,
        returns=clean_returns(everyone, tally),
        smoothing=smooth,
    )


def clean_returns(everyone: Members, tally: Tally) -> pl.DataFrame:
    """One row per member: raw undiscounted returns and lengths of its clean episodes.

    They stand beside F, which is small also for a policy that falls at once and so has few states.
    """
    total, length = np.float64(tally.total[:, 0]), tally.length[:, 0]
    return pl.DataFrame(
        {
            "member": np.arange(len(total)),
            "seed": everyone.seed,
            "sparsity_asked": everyone.sparsity,
            "episodes": np.full(len(total), total.shape[1]),
            "return_mean": total.mean(1),
            "return_std": total.std(1),
            "length_mean": length.mean(1),
        }
    )


# --- the same states ------------------------------------------------------------------------------------


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
    local = {name: value[:, 0] for name, value in far.visited.items()}
    everywhere = {name: jnp.full(len(observation), value) for name, value in far.everywhere.items()}
    search = partial(
        largest_distance,
        Victim(agent, space),
        ball=Ball(eps, norm),
        search=Mad(spec.search_steps),
        starts=spec.starts,
    )
    found = jax.vmap(search)(observation, jax.random.split(key, len(observation)))
    return everywhere | local | {TIGHTEST: far.tightest()[:, 0]}, found


def in_units(units: str, agents: Agent, everyone: Members) -> tuple[str, Agent]:
    """What the distances are called, and the agents with the spread that they are measured in.

    Raises SpecError where a policy's spread is zero in float32.
    """
    if agents.log_std is None:
        return "range", agents
    log_std = {
        "own": agents.log_std,
        "dense": agents.log_std[everyone.dense_twin()],
        "action": jnp.zeros_like(agents.log_std),
    }[units]
    if not np.all(np.exp(log_std) > np.finfo(np.float32).tiny):
        raise SpecError(
            f"units: a policy is deterministic (log_std {float(log_std.min()):g}), so no shift is finite in "
            "its standard deviations; use --units action"
        )
    return UNITS[units], agents.replace(log_std=log_std)


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
            found=pl.Series(looked.found.ravel(), dtype=pl.Float64),
            dense=pl.Series(np.where(has_twin[:, None], values[twin], np.nan).ravel(), dtype=pl.Float64),
        )

    tables = [rows(name, values, "bound") for name, values in looked.bounds.items()]
    table = pl.concat([*tables, rows(FOUND, looked.found, "estimate")])
    ratio = pl.when(pl.col("found") > 0).then(pl.col("value") / pl.col("found"))
    table = table.with_columns(pl.col("dense").fill_nan(None), tightness=ratio)
    return validate(table.select(STATES.names()), "states")


# --- what can be certified ------------------------------------------------------------------------------


def _population(
    spec: AuditSpec, settings: dict[str, Any], env: Environment, agents: Agent, unmasked: Agent
) -> Population:
    """The population certified over `spec.episodes` clean episodes, if its weights and its ball can be."""
    asked = SweepSpec(**settings | {"episodes": spec.episodes, "certify_episodes": spec.episodes})
    attacks.check_budget(asked.budgets[0], env.observation_size, asked.norm)
    global_bounds(agents.activation)  # refuses an activation without a slope bound
    for member in range(len(members(asked).seed)):
        try:
            check_finite(layers(jax.tree.map(lambda leaf, member=member: leaf[member], agents.policy)))
        except SpecError as error:
            raise SpecError(f"member {member}: {error}") from None
    in_units(spec.units, agents, members(asked))  # refuses a deterministic policy
    return Population(asked, env, agents, unmasked)


def _radius(given: str | float) -> float:
    try:
        return float(given)
    except ValueError:
        raise SpecError(f"eps: cannot read {given!r}; give one number, or published") from None
