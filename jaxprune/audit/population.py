"""The agents of an audit: the members of a run, or one agent pruned at several levels."""

from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxprune import attacks
from jaxprune.audit.spec import UNITS, AuditSpec
from jaxprune.certify import check_finite
from jaxprune.certify.policy import global_bounds
from jaxprune.envs import Environment
from jaxprune.errors import SpecError
from jaxprune.outcome import Members
from jaxprune.policy import Agent, layers
from jaxprune.pruning import masks, score
from jaxprune.spec import PUBLISHED_EPS, SweepSpec
from jaxprune.sweep import members


class Population(NamedTuple):
    """Agents to audit, leaves [member]; `spec` says who they are and in which ball they are certified.

    unmasked: the same weights without their mask. diverged: [member], whose training left the finite numbers.
    """

    spec: SweepSpec
    env: Environment
    agents: Agent
    unmasked: Agent
    diverged: Bool[np.ndarray, " member"]

    @property
    def pruned_post_hoc(self) -> bool:
        """Whether the members of a seed are one policy, pruned and not trained again."""
        return self.spec.schedule == "posthoc"

    def to_dict(self) -> dict[str, Any]:
        """What was certified and in which ball, as plain JSON values.

        Of `spec` only what is true of these agents: an agent read from a file was not trained by it.
        """
        everyone = members(self.spec)
        return {
            "task": self.env.task,
            "physics": self.env.physics,
            "members": len(everyone.seed),
            "seeds": sorted(set(everyone.seed.tolist())),
            "sparsities": list(self.spec.sparsities),
            "pruned_post_hoc": self.pruned_post_hoc,
            "diverged": np.flatnonzero(self.diverged).tolist(),
            "activation": self.agents.activation,
            "eps": self.spec.budgets[0],
            "norm": self.spec.norm,
            "space": self.spec.space,
            "discount": self.spec.discount,
        }


def of_run(
    spec: AuditSpec,
    trained: SweepSpec,
    env: Environment,
    agents: Agent,
    unmasked: Agent,
    diverged: Bool[np.ndarray, " member"] | None = None,
) -> Population:
    """The members of a sweep as they were trained, those marked whose training left the finite numbers."""
    if spec.eps == "published":
        ball = {"eps": (max(trained.budgets),), "norm": trained.norm, "space": trained.space}
    else:
        ball = {"eps": (spec.eps,), "norm": spec.norm, "space": spec.space}
    return _population(spec, asdict(trained) | ball, env, agents, unmasked, diverged)


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


def _population(
    spec: AuditSpec,
    settings: dict[str, Any],
    env: Environment,
    agents: Agent,
    unmasked: Agent,
    diverged: Bool[np.ndarray, " member"] | None = None,
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
    if diverged is None:
        diverged = np.zeros(len(members(asked).seed), bool)
    return Population(asked, env, agents, unmasked, diverged)
