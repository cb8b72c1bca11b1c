"""Episodes of the evaluation, moment by moment, to be looked at: where every body is, and what it has earned.

They are played by `evaluation` itself: the same keys lead to the same start states and random streams as in
the first episode of every member that it plays. Only, beside others an episode is rounded otherwise, and
contacts make more of that: returns differ by a little, or much where one of the two falls.
"""

import math
from functools import partial

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Key

from jaxprune import chunks, evaluation
from jaxprune.attacks import Victim
from jaxprune.envs import Body, Environment
from jaxprune.errors import SpecError
from jaxprune.evaluation import STEPS_AT_ONCE, Condition, Evaluation


class Moments(struct.PyTreeNode):
    """Moments of episodes that go on side by side, leaves [member, time, condition].

    qpos, qvel: [..., nq] and [..., nv], where the body is and how fast it moves. total: undiscounted raw
    return so far. alive: whether the episode goes on. terminated: whether the task has ended it.
    """

    qpos: Float[Array, "*batch nq"]
    qvel: Float[Array, "*batch nv"]
    total: Float[Array, "*batch"]
    alive: Bool[Array, "*batch"]
    terminated: Bool[Array, "*batch"]


def roll_out(
    env: Environment,
    victims: Victim,
    conditions: tuple[Condition, ...],
    keys: Key[Array, " member"],
    steps: int,
) -> Moments:
    """One episode of every victim under every condition, from its start to its end.

    Args:
        env: where they act.
        victims: leaves [member].
        conditions: leaves [member], each with one budget.
        keys: one per member, see `evaluation.play`.
        steps: after how many of them to stop looking.

    Returns:
        Every moment from the start state on, at most `steps` + 1 of them, on the host. Episodes that have
        ended stay where they are.

    Raises SpecError where MuJoCo moves no body.
    """
    body_of(env)
    victims = victims.replace(agent=victims.agent.pruned())
    now = evaluation.started(env, victims, conditions, keys, episodes=1)
    parts = []
    for _ in range(math.ceil(steps / STEPS_AT_ONCE)):
        now, moments = _advanced(env, victims, conditions, now)
        parts.append(jax.device_get(moments))
        if not now.tally.alive.any():
            break
    last = jax.tree.map(lambda leaf: leaf[:, None], jax.device_get(_moment(now)))
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts, last)
    return jax.tree.map(lambda leaf: leaf[:, : steps + 1, :, 0], whole)


def body_of(env: Environment) -> Body:
    """What there is to draw. Raises SpecError, naming the task, where MuJoCo moves nothing."""
    if env.body is None:
        raise SpecError(
            f"watch: {env.task} on {env.physics} has no body that MuJoCo moves, so nothing can be drawn; "
            "rollouts to watch are for the tasks that native and mjx move"
        )
    return env.body


@partial(jax.jit, static_argnames="env", donate_argnames="now")
def _advanced(
    env: Environment, victims: Victim, conditions: tuple[Condition, ...], now: Evaluation
) -> tuple[Evaluation, Moments]:
    def one(member: tuple[Victim, tuple[Condition, ...], Evaluation]) -> tuple[Evaluation, Moments]:
        return evaluation.observed(env, *member, steps=STEPS_AT_ONCE, seen=_moment)

    return chunks.mapped(one, (victims, conditions, now), len(now.key), None)


def _moment(now: Evaluation) -> Moments:
    """Where the episodes stand, leaves [..., condition, episode]."""
    motion, tally = now.state.physics, now.tally
    return Moments(motion.qpos, motion.qvel, tally.total, tally.alive, tally.terminated)
