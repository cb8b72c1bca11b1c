"""Whole episodes of a population under one condition (attack, ball, policy), in one compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key

from jaxprune import evaluation
from jaxprune.attacks import Victim
from jaxprune.envs import Environment
from jaxprune.evaluation import Condition, Evaluation, Tally, Visits
from jaxprune.policy import Agent
from jaxprune.sweep import EVALUATION_STEPS


def play(
    env: Environment,
    victims: Victim,
    condition: Condition,
    keys: Key[jax.Array, " member"],
    episodes: int,
    record: int,
) -> tuple[Tally, Visits]:
    """Every victim (leaves [member]) until its last episode ends.

    Members with equal keys meet equal start states and random streams.

    Returns:
        Tallies [member, budget, episode]; the states visited in the first `record` episodes under the
        first budget, [member, time, episode, obs].
    """

    def begin(agent: Agent, key: jax.Array) -> Evaluation:
        return evaluation.begin(env, Victim(agent, victims.space), (condition,), key, episodes)

    def advance(agent: Agent, now: Evaluation) -> tuple[Evaluation, Visits]:
        victim = Victim(agent, victims.space)
        return evaluation.advance(env, victim, (condition,), now, EVALUATION_STEPS, record)

    now = jax.jit(jax.vmap(begin))(victims.agent, keys)
    run = jax.jit(jax.vmap(advance), donate_argnums=1)
    visits = []
    while jnp.any(now.tally.alive):
        now, seen = run(victims.agent, now)
        visits.append(jax.device_get(seen))
    return jax.device_get(now.tally), jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *visits)
