"""What distances are measured in, and which members can be certified at all."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxprune.bounds import activation_named, check_finite
from jaxprune.errors import SpecError
from jaxprune.policy import Agent, layers
from jaxprune.population import Population

UNITS = {"own": "delta", "dense": "delta_dense", "action": "delta_action"}
"""The standard deviations that a Gaussian policy's shifts are measured in, and how tables name the result."""


def in_units(units: str, population: Population) -> tuple[str, Agent]:
    """What the distances are called, and the agents with the spread that they are measured in.

    Raises SpecError where a policy's spread is zero in float32.
    """
    agents = population.agents
    if agents.log_std is None:
        return "range", agents
    log_std = {
        "own": agents.log_std,
        "dense": agents.log_std[population.members.dense_twin()],
        "action": jnp.zeros_like(agents.log_std),
    }[units]
    if not _spreads(log_std):
        raise SpecError(
            f"units: a policy is deterministic (log_std {float(log_std.min()):g}), so no shift is finite in "
            "its standard deviations; use --units action"
        )
    return UNITS[units], agents.replace(log_std=log_std)


def check_certifiable(population: Population) -> None:
    """Raise SpecError for an activation without a slope bound, and weights that are not finite."""
    activation_named(population.agents.activation)
    pruned = population.agents.pruned().policy
    for member in range(population.members.size):
        try:
            check_finite(layers(jax.tree.map(lambda leaf, member=member: leaf[member], pruned)))
        except SpecError as error:
            raise SpecError(f"member {member}: {error}") from None


def is_deterministic(agents: Agent) -> bool:
    """Whether a Gaussian policy draws nothing, in float32."""
    return agents.log_std is not None and not _spreads(agents.log_std)


def _spreads(log_std: Float[Array, "member act"]) -> bool:
    return bool(np.all(np.exp(log_std) > np.finfo(np.float32).tiny))
