"""Clean episodes of policies that draw their actions: what they earn, and how far attacks could shift them.

A sound bound tells at each state how far an attack could move the distribution of the action, in its standard
deviations. Of an episode only the rewards and the squares of these shifts are kept, summed over stretches of
steps; no state is.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxprune import chunks
from jaxprune.attacks import Mad, Nothing, Victim
from jaxprune.bounds import BOUNDS, Episodes, categorical_shift_bound, in_blocks
from jaxprune.bounds.rounding import outward
from jaxprune.budget import Ball
from jaxprune.certification.policy import distances
from jaxprune.certification.return_spec import OWN, ReturnSpec
from jaxprune.evaluation import STEPS_AT_ONCE, Condition, Heard, Visits, for_all, play, stretches
from jaxprune.policy import Agent
from jaxprune.population import Population

LOCAL = {"crown": BOUNDS["crown"]}
"""The bound at each state, beside those of the weights alone."""

SIDE_BY_SIDE = 5
"""States in a row of those that are bounded side by side: as few as fit a processor's cache."""


class Spent(NamedTuple):
    """What clean episodes earned and could be shifted by, in stretches of `STEPS_AT_ONCE` steps.

    rewards: their sum. squares: that of the squares of the bounds on the shift. attacked: returns of other
    episodes, under MAD.
    """

    rewards: Float[np.ndarray, "member episode stretch"]
    squares: Float[np.ndarray, "member radius episode stretch"]
    attacked: Float[np.ndarray, "member radius attacked"]

    def of(self, member: int, radius: int, blocks: int, horizon: int) -> Episodes:
        """The episodes of one member under one radius, in so many blocks of about equal length."""
        ends = block_ends(blocks, horizon)
        # A stretch counts as one step whose square is the sum of theirs.
        return in_blocks(
            self.rewards[member],
            np.sqrt(self.squares[member, radius]),
            np.full(self.rewards.shape[1], ends[-1]),
            ends=ends,
        )


def joined_spent(parts: Sequence[Spent], order: np.ndarray) -> Spent:
    """What the members of all parts have spent, in this order of them."""
    return Spent(*(np.concatenate(of_each)[order] for of_each in zip(*parts, strict=True)))


def block_ends(blocks: int, horizon: int) -> np.ndarray:
    """The number of stretches up to the end of each block; no more blocks than stretches."""
    count = -(-horizon // STEPS_AT_ONCE)
    return np.unique(np.ceil(np.linspace(0, count, min(blocks, count) + 1)).astype(int))[1:]


def spent(
    spec: ReturnSpec,
    population: Population,
    keys: Key[Array, " member"],
    heard: Heard,
    scale: float = OWN,
    chunk: int | None = None,
) -> Spent:
    """Clean episodes of sampled actions, and how far each of their states could have been attacked.

    scale: of the standard deviation of the policy that is played. The i-th episodes of all scales have the
    random numbers of the i-th, so that they are paired, and are independent of all others.
    chunk: how many members are side by side at most, which changes no result; None for all of them.
    """
    size = population.members.size
    places = chunks.rows(size, chunk)
    parts = [_side_by_side(spec, population.of(rows), keys[rows], heard, scale) for rows in places]
    return joined_spent(parts, np.arange(size))


def _side_by_side(
    spec: ReturnSpec, population: Population, keys: Key[Array, " member"], heard: Heard, scale: float
) -> Spent:
    """The same, of all members at once."""
    budget, env, count = population.budget, population.env, population.members.size
    agents = widened(population.agents, scale)
    clean = for_all(Condition(Nothing(), Ball(jnp.zeros(1), budget.norm), "sampled"), count)
    episodes, radii = spec.return_episodes, jnp.asarray(spec.radii)
    totals, squares, before = [np.zeros((count, episodes))], [], 0
    victims = Victim(agents, budget.space)
    for tally, visits in stretches(env, victims, (clean,), keys, episodes, record=episodes):
        totals.append(np.asarray(tally.total[:, 0], float))
        squares.append(jax.device_get(_squares(agents, visits, radii, norm=budget.norm, space=budget.space)))
        steps = int(tally.length.sum())
        heard(tally, steps - before)
        before = steps
    missing = int(block_ends(1, env.horizon)[-1]) - len(squares)  # all episodes had ended

    def whole(parts: np.ndarray) -> np.ndarray:
        return np.pad(parts, [(0, 0)] * (parts.ndim - 1) + [(0, missing)])

    worst = for_all(Condition(Mad(), Ball(radii, budget.norm), "sampled"), count)
    attacked, _ = play(env, victims, (worst,), keys, spec.return_attacked, heard=heard)
    return Spent(
        whole(np.diff(np.stack(totals, axis=-1))),
        whole(np.stack(squares, axis=-1).astype(float)),
        np.asarray(attacked.total, float),
    )


def widened(agents: Agent, factor: float) -> Agent:
    """The same policies with so many times their standard deviation."""
    if agents.log_std is None or factor == OWN:
        return agents
    return agents.replace(log_std=agents.log_std + np.log(factor))


@partial(jax.jit, static_argnames=("norm", "space"))
def _squares(
    agents: Agent, visits: Visits, radii: Float[Array, " radius"], *, norm: str, space: str
) -> Float[Array, "member radius episode"]:
    """The squares of the bounds on the shift, summed over the states of a stretch, rounded up.

    States after the end of their episode are not bounded: tasks that can end have many.
    """

    def one(member: tuple[Agent, Visits]) -> Float[Array, "radius episode"]:
        agent, seen = member
        std = None if agent.log_std is None else jnp.exp(agent.log_std)
        steps, episodes = seen.alive.shape
        alive = seen.alive.reshape(-1)
        living_first = jnp.argsort(~alive)
        turns = seen.observation.reshape(alive.size, -1)[living_first]
        turns = turns.reshape(steps // SIDE_BY_SIDE, episodes, SIDE_BY_SIDE, -1)
        needed = -(-alive.sum() // (episodes * SIDE_BY_SIDE))  # after that turn all states are dead

        def under(eps: Float[Array, ""]) -> Float[Array, " episode"]:
            def turn(number: Int[Array, ""], shifts: Float[Array, "..."]) -> Float[Array, "..."]:
                far = distances(agent, std, turns[number], eps, norm=norm, space=space, local=LOCAL)
                return shifts.at[number].set(far.tightest())

            shifts = jax.lax.fori_loop(0, needed, turn, jnp.zeros(turns.shape[:-1]))
            shift = jnp.zeros(alive.size).at[living_first].set(shifts.reshape(-1)).reshape(steps, episodes)
            if std is None:
                shift = categorical_shift_bound(shift)
            total = jnp.sum(jnp.where(seen.alive, shift, 0.0) ** 2, axis=0)
            return outward(total, steps)

        return jax.lax.map(under, radii)

    # One member and radius at a time: the matrices of all states would not fit a small memory.
    return jax.lax.map(one, (agents, visits))
