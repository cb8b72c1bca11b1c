"""Clean episodes of policies that draw their actions: what they earn, and how far attacks could shift them.

A sound bound tells at each state how far an attack could move the distribution of the action, in its standard
deviations. Of an episode only the rewards and the squares of these shifts are kept, summed over stretches of
steps; no state is.
"""

from collections.abc import Iterator, Mapping, Sequence
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
from jaxprune.errors import SpecError
from jaxprune.evaluation import STEPS_AT_ONCE, Condition, Heard, Tally, Visits, for_all, stretches
from jaxprune.policy import Agent
from jaxprune.population import Population

LOCAL = {"crown": BOUNDS["crown"]}
"""The bound at each state, beside those of the weights alone."""

SIDE_BY_SIDE = 5
"""States in a row of those that are bounded side by side: as few as fit a processor's cache."""


class Spent(NamedTuple):
    """What clean episodes earned and could be shifted by, in stretches of `STEPS_AT_ONCE` steps.

    rewards: their sum. squares: that of the squares of the bounds on the shift. attacked: the sum of the
    rewards of other episodes, under MAD.
    """

    rewards: Float[np.ndarray, "member episode stretch"]
    squares: Float[np.ndarray, "member radius episode stretch"]
    attacked: Float[np.ndarray, "member radius attacked stretch"]

    @classmethod
    def read(cls, arrays: Mapping[str, np.ndarray]) -> "Spent":
        """As kept in a file. Raises SpecError where an earlier version kept no more than attacked returns."""
        made = cls(**arrays)
        if made.attacked.ndim < made.squares.ndim:
            raise SpecError(
                "run: of its episodes under attack an earlier version kept the returns only; "
                "experiments.certify --run certifies its returns anew, without training"
            )
        return made

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

    def under_attack(
        self, member: int, radius: int, blocks: int, horizon: int
    ) -> Float[np.ndarray, "attacked block"]:
        """What the episodes of one member under MAD earned in each of so many blocks."""
        starts = [0, *block_ends(blocks, horizon)[:-1]]
        return np.add.reduceat(self.attacked[member, radius], starts, axis=-1)


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
    agents, radii = widened(population.agents, scale), jnp.asarray(spec.radii)
    clean = for_all(Condition(Nothing(), Ball(jnp.zeros(1), budget.norm), "sampled"), count)
    worst = for_all(Condition(Mad(), Ball(radii, budget.norm), "sampled"), count)
    victims, episodes, attacked = Victim(agents, budget.space), spec.return_episodes, spec.return_attacked

    def whole(parts: list[np.ndarray]) -> np.ndarray:
        """The parts of all stretches, and nothing after all episodes had ended."""
        missing = int(block_ends(1, env.horizon)[-1]) - len(parts)
        stacked = np.stack(parts, axis=-1).astype(float)
        return np.pad(stacked, [(0, 0)] * (stacked.ndim - 1) + [(0, missing)])

    rewards, squares, hurt = [], [], []
    for earned, visits in _earned(stretches(env, victims, (clean,), keys, episodes, record=episodes), heard):
        rewards.append(earned[:, 0])
        squares.append(jax.device_get(_squares(agents, visits, radii, norm=budget.norm, space=budget.space)))
    for earned, _ in _earned(stretches(env, victims, (worst,), keys, attacked, record=0), heard):
        hurt.append(earned)
    return Spent(whole(rewards), whole(squares), whole(hurt))


def _earned(
    played: Iterator[tuple[Tally, Visits]], heard: Heard
) -> Iterator[tuple[Float[np.ndarray, "member budget episode"], Visits]]:
    """What each stretch has brought, and its states."""
    total, steps = 0.0, 0
    for tally, visits in played:
        now, length = np.asarray(tally.total, float), int(tally.length.sum())
        heard(tally, length - steps)
        yield now - total, visits
        total, steps = now, length


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
