"""Returns under attack: one member, every attack, budget and episode side by side in one program.

An evaluation is advanced a few steps at a time, so that it can stop when the last episode has ended. All
conditions share their start states and random streams, so differences between them are paired.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from jaxprune.attacks import Attack, Ball, Memory, Victim
from jaxprune.envs import Environment, EnvState, Transition


class Condition(NamedTuple):
    """An attack with its budgets: `balls.eps` is [budget] or [budget, obs].

    policy: whether the victim takes the `mode` of what it is shown, or an action `sampled` from it.
    """

    attack: Attack
    balls: Ball
    policy: str = "mode"


@struct.dataclass
class Tally:
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


@struct.dataclass
class Evaluation:
    """Episodes in progress: the environments and tallies of all conditions, stacked along the budgets."""

    state: EnvState
    memory: tuple[Memory, ...]
    tally: Tally
    key: Key[Array, "*members"]


@struct.dataclass
class Visits:
    """Clean states on the way: observation [time, episode, obs] in raw units, where alive [time, episode]."""

    observation: Float[Array, "*batch obs"]
    alive: Bool[Array, "*batch"]


def begin(
    env: Environment, victim: Victim, conditions: tuple[Condition, ...], key: PRNGKeyArray, episodes: int
) -> Evaluation:
    """`episodes` fresh episodes for every condition and budget, the same start states for all."""
    reset_key, memory_key, key = jax.random.split(key, 3)
    state = jax.vmap(env.reset)(jax.random.split(reset_key, episodes))
    points = jax.vmap(victim.point)(state.observation)
    keys = jax.random.split(memory_key, episodes)
    budgets = [condition.balls.eps.shape[0] for condition in conditions]
    count = sum(budgets)
    zero = jnp.zeros((count, episodes))
    return Evaluation(
        state=_repeat(state, count),
        memory=tuple(
            _repeat(jax.vmap(condition.attack.start)(keys, points), n)
            for condition, n in zip(conditions, budgets, strict=True)
        ),
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


def advance(
    env: Environment,
    victim: Victim,
    conditions: tuple[Condition, ...],
    evaluation: Evaluation,
    steps: int,
    record: int,
) -> tuple[Evaluation, Visits]:
    """Play on for `steps` steps, each condition with its policy; episodes that have ended count no more.

    Returns also the states visited in the first `record` episodes of the first condition and budget.
    """

    def step(now: Evaluation, key: PRNGKeyArray) -> tuple[Evaluation, Visits]:
        keys = jax.random.split(key, now.tally.alive.shape[1])
        actions, memories, inside, offset = [], [], [], 0
        for condition, memory in zip(conditions, now.memory, strict=True):
            budgets = condition.balls.eps.shape[0]
            seen = now.state.observation[offset : offset + budgets]
            action, memory, within = _perturbed_actions(victim, condition, keys, seen, memory)
            actions.append(action)
            memories.append(memory)
            inside.append(within)
            offset += budgets
        visits = Visits(now.state.observation[0, :record], now.tally.alive[0, :record])
        state, transition = jax.vmap(jax.vmap(env.step))(now.state, jnp.concatenate(actions))
        tally = _count(now.tally, transition, jnp.concatenate(inside))
        return now.replace(state=state, memory=tuple(memories), tally=tally), visits

    key, steps_key = jax.random.split(evaluation.key)
    evaluation, visits = jax.lax.scan(step, evaluation, jax.random.split(steps_key, steps))
    return evaluation.replace(key=key), visits


def _perturbed_actions(
    victim: Victim,
    condition: Condition,
    keys: Key[Array, " episode"],
    observation: Float[Array, "budget episode obs"],
    memory: Memory,
) -> tuple[Array, Memory, Bool[Array, "budget episode"]]:
    def one(ball: Ball, key: PRNGKeyArray, seen: Array, memory: Memory) -> tuple[Array, Memory, Array]:
        point = victim.point(seen)
        if condition.policy == "sampled":
            key, action_key = jax.random.split(key)
        shown, memory = condition.attack.perturb(key, victim, point, ball, memory)
        distribution = victim.distribution(shown)
        action = distribution.sample(action_key) if condition.policy == "sampled" else distribution.mode()
        return action, memory, ball.contains(point, shown)

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
