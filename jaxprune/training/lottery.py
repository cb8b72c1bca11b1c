"""The lottery: when a round of training ends, the weights go back to what they were, and only the mask stays.

Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, ICML 2020.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.policy import Agent
from jaxprune.pruning import Schedule
from jaxprune.pruning.schedules import REWIND, ROUNDS, round_of

Scalar = Float[Array, ""] | float
Tree = TypeVar("Tree")

EARLY, FRESH = "early", "fresh"
"""The agents that are kept: as it was early on, and drawn anew. Without masks."""


def kept(before: dict[str, Agent], agent: Agent, progress: tuple[Scalar, Scalar]) -> dict[str, Agent]:
    """What is kept after the iteration from one point to another: the agent, where it passes `REWIND`."""
    passes = (progress[0] < REWIND) & (progress[1] >= REWIND)
    early = jax.tree.map(lambda new, old: jnp.where(passes, new, old), agent.unmasked(), before[EARLY])
    return before | {EARLY: early}


def ticket(schedule: Schedule, kept: dict[str, Agent], agent: Agent, progress: Scalar) -> Agent:
    """What the round of this point begins with: both networks, log-std and filter as kept, today's mask."""
    begins = kept[EARLY]
    if schedule.fresh:
        last = round_of(progress) == ROUNDS - 1
        begins = jax.tree.map(lambda new, old: jnp.where(last, new, old), kept[FRESH], begins)
    return begins.replace(mask=agent.mask)


def at_a_new_round(progress: tuple[Scalar, Scalar], begins: Tree, goes_on: Tree) -> Tree:
    """The one where the iteration between two points of progress ends a round, else the other."""
    ends = round_of(progress[1]) > round_of(progress[0])
    return jax.tree.map(lambda new, old: jnp.where(ends, new, old), begins, goes_on)


def pace(progress: Scalar) -> Float[Array, ""]:
    """By what share the step size has fallen: to nothing in every round, from where it was at `REWIND`."""
    number = round_of(progress)
    first = jnp.where(number > 0, REWIND * ROUNDS, 0.0)
    return first + (1.0 - first) * (progress * ROUNDS - number)
