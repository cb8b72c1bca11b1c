"""Episodes of a population under attack: every member, attack, budget and episode side by side.

This is the one loop that plays episodes to their end. It advances a few steps at a time in one compiled
program, so that it can report and stop when the last episode has ended. All conditions share their start
states and random streams, so differences between them are paired.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from jaxprune import chunks
from jaxprune.attacks import Memory, Rule, Victim
from jaxprune.budget import Ball
from jaxprune.envs import Environment, EnvState, Shift, Transition, check_shift

POLICIES = ("mode", "sampled")
"""How a policy acts: by the most likely action, or by an action drawn from its distribution."""

STEPS_AT_ONCE = 50
"""Steps between two looks at whether an episode is still alive."""


class Condition(struct.PyTreeNode):
    """An attack with its budgets: `balls.eps` is [budget] or [budget, obs]; and how the victim acts.

    shifts: the dynamics it acts under, leaves [budget] or [budget, episode]; None for the task's own.
    """

    attack: Rule
    balls: Ball
    policy: str = struct.field(pytree_node=False, default="mode")
    shifts: Shift | None = None


class Tally(struct.PyTreeNode):
    """What the episodes have brought so far, every array [..., budget, episode].

    total: undiscounted raw return. length: steps. terminated, failed: how the episode ended.
    outside: steps at which the attack showed a point outside its ball; 0, or the attack is wrong.
    reward_low, reward_high: extremes of one step's reward.
    """

    alive: Bool[Array, "*batch"]
    total: Float[Array, "*batch"]
    length: Int[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    failed: Bool[Array, "*batch"]
    outside: Int[Array, "*batch"]
    reward_low: Float[Array, "*batch"]
    reward_high: Float[Array, "*batch"]


class Evaluation(struct.PyTreeNode):
    """Episodes in progress: the environments and tallies of all conditions, stacked along the budgets."""

    state: EnvState
    memory: tuple[Memory, ...]
    tally: Tally
    key: Key[Array, "*members"]


class Visits(struct.PyTreeNode):
    """Clean states on the way: observation [time, episode, obs] in raw units, where alive [time, episode]."""

    observation: Float[Array, "*batch obs"]
    alive: Bool[Array, "*batch"]


Heard = Callable[[Tally, int], None]
"""Told the tallies [member, budget, episode] so far, and how many steps are new in them."""


def play(
    env: Environment,
    victims: Victim,
    conditions: tuple[Condition, ...],
    keys: Key[Array, " member"],
    episodes: int,
    record: int = 0,
    heard: Heard = lambda tally, steps: None,
) -> tuple[Tally, Visits]:
    """Every victim under every condition and budget until its last episode has ended.

    Args:
        env: where they act.
        victims: leaves [member].
        conditions: leaves [member], see `for_all`: attackers may differ between the victims.
        keys: one per member; members with equal keys meet equal start states and random streams.
        episodes: of each member under each budget of each condition.
        record: of how many episodes under the first budget the visited states are returned.
        heard: told the progress, between two compiled programs.

    Returns:
        Tallies [member, budget, episode], the budgets of all conditions one after the other; the states
        visited in the recorded episodes, [member, time, episode, obs].

    Raises SpecError for shifts where there is no body to shift, and for those that leave no physics.
    """
    tallies, before = [], 0
    # Room for as many states as there can be, so that none is there twice. Untouched, it takes no memory.
    shape = (len(keys), -(-env.horizon // STEPS_AT_ONCE) * STEPS_AT_ONCE, record)
    states: Any = np.zeros((*shape, env.observation_size), np.float32)
    alive: Any = np.zeros(shape, bool)
    seen = Visits(states, alive)
    for tally, visits in stretches(env, victims, conditions, keys, episodes, record):
        now = slice(STEPS_AT_ONCE * len(tallies), STEPS_AT_ONCE * (len(tallies) + 1))
        jax.tree.map(lambda room, part, now=now: np.copyto(room[:, now], part), seen, jax.device_get(visits))
        tallies.append(tally)
        steps = int(tally.length.sum())
        heard(tally, steps - before)
        before = steps
    return tallies[-1], jax.tree.map(lambda room: room[:, : STEPS_AT_ONCE * len(tallies)], seen)


def play_in_chunks(
    env: Environment,
    victims: Victim,
    conditions: tuple[Condition, ...],
    keys: Key[Array, " member"],
    episodes: int,
    record: int = 0,
    heard: Heard = lambda tally, steps: None,
    chunk: int | None = None,
) -> tuple[Tally, Visits]:
    """`play`, so many members at a time; None: all of them. It changes no result."""
    places = chunks.rows(len(keys), chunk)
    if len(places) == 1:
        return play(env, victims, conditions, keys, episodes, record, heard)

    def of_chunk(rows: Int[np.ndarray, " row"]) -> tuple[Tally, Visits]:
        some, under, own = jax.tree.map(lambda leaf: leaf[rows], (victims, conditions, keys))
        return play(env, some, under, own, episodes, record, heard)

    played = one_after_the_other([of_chunk(rows) for rows in places])
    return jax.tree.map(lambda leaf: leaf[: len(keys)], played)


def stretches(
    env: Environment,
    victims: Victim,
    conditions: tuple[Condition, ...],
    keys: Key[Array, " member"],
    episodes: int,
    record: int,
) -> Iterator[tuple[Tally, Visits]]:
    """`play`, `STEPS_AT_ONCE` steps at a time: the tallies so far, on the host, and this stretch's states.

    What is needed of the states can be taken from them stretch by stretch, and none has to be kept.
    """
    for condition in conditions:
        if condition.shifts is not None:
            env.check_shiftable()
            check_shift(condition.shifts)
    victims = victims.replace(agent=victims.agent.pruned())
    now = started(env, victims, conditions, keys, episodes)
    while now.tally.alive.any():
        now, visits = jax.block_until_ready(_advanced(env, victims, conditions, now, record))
        yield jax.device_get(now.tally), visits


def one_after_the_other(played: list[tuple[Tally, Visits]]) -> tuple[Tally, Visits]:
    """Members whose episodes were played in turns. Visits are as long as the longest of them.

    Empties the list as it goes, so that hardly any state is there twice.
    """
    if len(played) == 1:
        return played[0]
    longest = max(visits.alive.shape[1] for _, visits in played)
    tally = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(tally for tally, _ in played))
    size, first = len(tally.alive), 0
    joined = jax.tree.map(lambda leaf: np.zeros((size, longest, *leaf.shape[2:]), leaf.dtype), played[0][1])
    while played:
        _, visits = played.pop(0)
        count, length = visits.alive.shape[:2]
        for room, leaf in zip(jax.tree.leaves(joined), jax.tree.leaves(visits), strict=True):
            room[first : first + count, :length] = leaf
        first += count
    return tally, joined


Same = TypeVar("Same")
Seen = TypeVar("Seen")


def for_all(thing: Same, members: int) -> Same:
    """The same condition, or part of one, for every member: leaves [member]."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (members, *jnp.shape(leaf))), thing)


@partial(jax.jit, static_argnames=("env", "episodes"))
def started(
    env: Environment,
    victims: Victim,
    conditions: tuple[Condition, ...],
    keys: Key[Array, " member"],
    episodes: int,
) -> Evaluation:
    """The episodes of `play` before their first step, leaves [member]."""
    everyone = (victims, conditions, keys)
    return chunks.mapped(lambda one: begin(env, *one, episodes=episodes), everyone, len(keys), None)


@partial(jax.jit, static_argnames=("env", "record"), donate_argnames="now")
def _advanced(
    env: Environment, victims: Victim, conditions: tuple[Condition, ...], now: Evaluation, record: int
) -> tuple[Evaluation, Visits]:
    def one(member: tuple[Victim, tuple[Condition, ...], Evaluation]) -> tuple[Evaluation, Visits]:
        return advance(env, *member, steps=STEPS_AT_ONCE, record=record)

    return chunks.mapped(one, (victims, conditions, now), len(now.key), None)


def begin(
    env: Environment, victim: Victim, conditions: tuple[Condition, ...], key: PRNGKeyArray, episodes: int
) -> Evaluation:
    """`episodes` fresh episodes for every condition and budget, the same start states for all."""
    reset_key, memory_key, key = jax.random.split(key, 3)
    state = _start(env, conditions, jax.random.split(reset_key, episodes))
    keys = jax.random.split(memory_key, episodes)
    memory, offset = [], 0
    for condition in conditions:
        budgets = jnp.shape(condition.balls.eps)[0]
        xs = jax.vmap(jax.vmap(victim.to_space))(state.observation[offset : offset + budgets])
        memory.append(jax.vmap(jax.vmap(condition.attack.start), in_axes=(None, 0))(keys, xs))
        offset += budgets
    zero = jnp.zeros((offset, episodes))
    return Evaluation(
        state=state,
        memory=tuple(memory),
        tally=Tally(
            alive=zero == 0,
            total=zero,
            length=zero.astype(jnp.int32),
            terminated=zero > 0,
            failed=zero > 0,
            outside=zero.astype(jnp.int32),
            reward_low=zero + jnp.inf,
            reward_high=zero - jnp.inf,
        ),
        key=key,
    )


def _start(env: Environment, conditions: tuple[Condition, ...], keys: Key[Array, " episode"]) -> EnvState:
    """The first states [budget, episode]; beside shifted conditions, those without have factors of 1."""
    budgets = [jnp.shape(condition.balls.eps)[0] for condition in conditions]
    if all(condition.shifts is None for condition in conditions):
        return _repeat(jax.vmap(env.reset)(keys), sum(budgets))

    def of_episodes(shifts: Shift | None, count: int) -> Shift:
        per_budget = jax.tree.map(lambda factor: factor[:, None] if jnp.ndim(factor) == 1 else factor, shifts)
        return (per_budget or Shift()).broadcast_to(count, len(keys))

    parts = [of_episodes(condition.shifts, n) for condition, n in zip(conditions, budgets, strict=True)]
    shifts = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return jax.vmap(lambda of_budget: jax.vmap(env.reset_under)(keys, of_budget))(shifts)


def advance(
    env: Environment,
    victim: Victim,
    conditions: tuple[Condition, ...],
    evaluation: Evaluation,
    steps: int,
    record: int,
) -> tuple[Evaluation, Visits]:
    """Play on for `steps` steps; episodes that have ended count no more.

    Returns also the states visited in the first `record` episodes of the first condition and budget.
    """
    return observed(env, victim, conditions, evaluation, steps, partial(_visits, record))


def observed(
    env: Environment,
    victim: Victim,
    conditions: tuple[Condition, ...],
    evaluation: Evaluation,
    steps: int,
    seen: Callable[[Evaluation], Seen],
) -> tuple[Evaluation, Seen]:
    """`advance`, and what `seen` says of the episodes before each step, leaves [time]."""

    def step(now: Evaluation, key: PRNGKeyArray) -> tuple[Evaluation, Seen]:
        keys = jax.random.split(key, now.tally.alive.shape[1])
        actions, memories, inside, offset = [], [], [], 0
        for condition, memory in zip(conditions, now.memory, strict=True):
            budgets = jnp.shape(condition.balls.eps)[0]
            observation = now.state.observation[offset : offset + budgets]
            action, memory, within = _perturbed_actions(victim, condition, keys, observation, memory)
            actions.append(action)
            memories.append(memory)
            inside.append(within)
            offset += budgets
        before = seen(now)
        state, transition = jax.vmap(jax.vmap(env.step))(now.state, jnp.concatenate(actions))
        tally = _count(now.tally, transition, jnp.concatenate(inside))
        return now.replace(state=state, memory=tuple(memories), tally=tally), before

    key, steps_key = jax.random.split(evaluation.key)
    evaluation, before = jax.lax.scan(step, evaluation, jax.random.split(steps_key, steps))
    return evaluation.replace(key=key), before


def _visits(record: int, now: Evaluation) -> Visits:
    """The states of the first `record` episodes of the first condition and budget."""
    return Visits(now.state.observation[0, :record], now.tally.alive[0, :record])


def _perturbed_actions(
    victim: Victim,
    condition: Condition,
    keys: Key[Array, " episode"],
    observation: Float[Array, "budget episode obs"],
    memory: Memory,
) -> tuple[Array, Memory, Bool[Array, "budget episode"]]:
    def one(ball: Ball, key: PRNGKeyArray, observation: Array, memory: Memory) -> tuple[Array, Memory, Array]:
        attack_key, action_key = jax.random.split(key)
        x = victim.to_space(observation)
        s_hat, memory = condition.attack.perturb(attack_key, victim, x, ball, memory)
        policy = victim.distribution(s_hat)
        action = policy.sample(action_key) if condition.policy == "sampled" else policy.mode()
        return action, memory, ball.contains(x, s_hat)

    per_episode = jax.vmap(one, in_axes=(None, 0, 0, 0))
    return jax.vmap(per_episode, in_axes=(0, None, 0, 0))(condition.balls, keys, observation, memory)


def _count(tally: Tally, transition: Transition, inside: Bool[Array, "budget episode"]) -> Tally:
    alive = tally.alive
    low, high = tally.reward_low, tally.reward_high
    return Tally(
        alive=alive & ~transition.terminated & ~transition.truncated,
        total=tally.total + jnp.where(alive, transition.reward, 0.0),
        length=tally.length + alive,
        terminated=tally.terminated | (alive & transition.terminated),
        failed=tally.failed | (alive & transition.failed),
        outside=tally.outside + (alive & ~inside),
        reward_low=jnp.where(alive, jnp.minimum(low, transition.reward), low),
        reward_high=jnp.where(alive, jnp.maximum(high, transition.reward), high),
    )


def _repeat(tree: Memory, count: int) -> Memory:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), tree)
