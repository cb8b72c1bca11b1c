"""Attackers tried on victims: how many side by side, what they left of the returns, and where it is kept."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from jaxprune import checkpoint, chunks, evaluation
from jaxprune.attacks import Nothing, Rule, Victim
from jaxprune.budget import Ball
from jaxprune.envs import Environment
from jaxprune.evaluation import Condition, Tally, for_all
from jaxprune.policy import Agent
from jaxprune.progress import Meter

Asked = tuple[Environment, Victim, tuple[Condition, ...], Key[Array, " victim"], int]
"""What `evaluation.play` is asked for: the episodes of victims under one condition each, or several."""


@dataclass(frozen=True)
class Trials:
    """Where attackers are tried on victims.

    chunk: how many pairs are side by side at most. meter: counts the steps. folder: where what has been
    learned and measured is kept, to go on from; None to keep nothing. policy: how the victims act, one of
    `evaluation.POLICIES`.
    """

    env: Environment
    ball: Ball
    chunk: int
    meter: Meter
    folder: Path | None
    policy: str = "mode"

    def place(self, *names: str) -> Path | None:
        """Where something of this name is kept, if anything is."""
        return None if self.folder is None else self.folder.joinpath(*names)

    def measure_each(
        self, name: str, victims: Victim, attackers: Rule, count: int, key: PRNGKeyArray, episodes: int
    ) -> Tally:
        """The `count` attackers of one attack on their victims: [member, attacker, episode]."""
        of_pair = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), victims)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), attackers)
        tally = self.measure(f"{name}-returns", of_pair, (flat,), key, episodes)  # [pair, 1, episode]
        return jax.tree.map(lambda leaf: leaf.reshape(-1, count, episodes), tally)

    def measure(
        self, name: str, victims: Victim, attackers: tuple[Rule, ...], key: PRNGKeyArray, episodes: int
    ) -> Tally:
        """Each of `attackers` (leaves [victim]) on each victim, side by side: [victim, attack, episode].

        The start states and random streams are the same for all, so differences between them are paired.
        """
        count = count_of(victims.agent)
        turns = []
        # Two victims at least: a batch of one is rounded otherwise.
        for number, turn in enumerate(chunks.rows(count, max(2, self.chunk // len(attackers)))):
            part, rules = jax.tree.map(lambda leaf, turn=turn: leaf[turn], (victims, attackers))
            conditions = tuple(for_all_but_rule(rule, self.ball, len(turn), self.policy) for rule in rules)
            keys = jnp.broadcast_to(key, (len(turn),))
            asked = (self.env, part, conditions, keys, episodes)
            tally = checkpoint.load_or_make(
                self.place(name, f"turn-{number}"),
                like=partial(_tally_of, asked),
                make=partial(self._played, asked),
            )
            turns.append(jax.device_get(tally))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *turns)

    def _played(self, asked: Asked) -> Tally:
        return evaluation.play(*asked, heard=lambda _, steps: self.meter.add(steps))[0]


def for_all_but_rule(rule: Rule, ball: Ball, victims: int, policy: str) -> Condition:
    """The condition of one rule for each victim (leaves [victim]) in the ball that is the same for all."""
    around = Ball(jnp.zeros(1) if isinstance(rule, Nothing) else jnp.asarray(ball.eps)[None], ball.norm)
    return Condition(rule, for_all(around, victims), policy)


def _tally_of(asked: Asked) -> Tally:
    """The shapes of what `evaluation.play` counts."""
    env, victims, conditions, keys, episodes = asked
    return jax.eval_shape(lambda: evaluation.started(env, victims, conditions, keys, episodes=episodes).tally)


def count_of(agents: Agent) -> int:
    """How many agents are stacked."""
    return jax.tree.leaves(agents)[0].shape[0]
