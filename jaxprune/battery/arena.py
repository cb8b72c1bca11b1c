"""Where attackers and victims meet, and what is left of the victims' returns."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from jaxprune import checkpoint, evaluation
from jaxprune.attacks import Attack, Ball, Nothing, Victim
from jaxprune.envs import Environment
from jaxprune.evaluation import Condition, Evaluation, Tally
from jaxprune.policy import Agent
from jaxprune.sweep import EVALUATION_STEPS, Update, Watch


class Meter:
    """Environment steps so far, and their speed, handed on to `watch`."""

    def __init__(self, watch: Watch) -> None:
        self.phase = ""
        self._watch, self._steps, self._began = watch, 0, time.monotonic()

    def add(self, steps: int) -> None:
        """So many more steps are done."""
        self._steps += steps
        speed = self._steps / (time.monotonic() - self._began + 1e-9)
        self._watch(Update(self.phase, self._steps, speed, []))

    def hear(self, steps: int, returns: Float[np.ndarray, " pair"]) -> None:
        """The progress of a training (see `search.Heard`), with the lowest return of a victim so far."""
        name = self.phase.split(":")[0]
        if np.isfinite(returns).any():
            self.phase = f"{name}: lowest return {np.nanmin(returns):.0f}"
        self.add(steps)


@dataclass(frozen=True)
class Arena:
    """Where attackers and victims meet.

    at_once: pairs side by side. meter: counts the steps. folder: where what has been learned and measured is
    kept, to go on from; None to keep nothing.
    """

    env: Environment
    ball: Ball
    at_once: int
    meter: Meter
    folder: Path | None

    def place(self, *names: str) -> Path | None:
        """Where something of this name is kept, if anything is."""
        return None if self.folder is None else self.folder.joinpath(*names)

    def measure_crowd(
        self, name: str, victims: Victim, crowd: Attack, count: int, key: PRNGKeyArray, episodes: int
    ) -> Tally:
        """The `count` attackers of one kind on their victims: [member, attacker, episode]."""
        of_pair = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0), victims)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), crowd)
        tally = self.measure(f"{name}-returns", of_pair, (flat,), key, episodes)  # [pair, 1, episode]
        return jax.tree.map(lambda leaf: leaf.reshape(-1, count, episodes), tally)

    def measure(
        self, name: str, victims: Victim, attackers: tuple[Attack, ...], key: PRNGKeyArray, episodes: int
    ) -> Tally:
        """Each of `attackers` on each victim, side by side: [victim, attack, episode].

        The start states and random streams are the same for all, so differences between them are paired.
        """
        count = count_of(victims.agent)
        turns = []
        for number, turn in enumerate(np.array_split(np.arange(count), self._turns(count, len(attackers)))):
            part, crowd = jax.tree.map(lambda leaf, turn=turn: leaf[turn], (victims, attackers))
            start = partial(_begin, self.env, part, crowd, self.ball, key, episodes)
            tally = checkpoint.kept(
                self.place(name, f"turn-{number}"),
                like=partial(jax.eval_shape, lambda start=start: start().tally),
                make=partial(self._played, start, part, crowd),
            )
            turns.append(jax.device_get(tally))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *turns)

    def _played(self, start: Callable[[], Evaluation], victims: Victim, crowd: tuple[Attack, ...]) -> Tally:
        now = start()
        while now.tally.alive.any():
            self.meter.add(int(now.tally.alive.sum()) * EVALUATION_STEPS)
            now = _advance(self.env, victims, crowd, self.ball, now)
        return now.tally

    def _turns(self, victims: int, attackers: int) -> int:
        """In how many parts that fit side by side; at most one for every victim."""
        return min(victims, math.ceil(victims * attackers / self.at_once))


def _conditions(crowd: tuple[Attack, ...], ball: Ball) -> tuple[Condition, ...]:
    radius = ball.replace(eps=ball.eps[None])
    nowhere = ball.replace(eps=jnp.zeros(1))
    return tuple(Condition(a, nowhere if isinstance(a, Nothing) else radius) for a in crowd)


@partial(jax.jit, static_argnames=("env", "episodes"))
def _begin(
    env: Environment,
    victims: Victim,
    attackers: tuple[Attack, ...],
    ball: Ball,
    key: PRNGKeyArray,
    episodes: int,
) -> Evaluation:
    def one(victim: Victim, crowd: tuple[Attack, ...]) -> Evaluation:
        return evaluation.begin(env, victim, _conditions(crowd, ball), key, episodes)

    return jax.vmap(one)(victims, attackers)


@partial(jax.jit, static_argnames="env", donate_argnames="now")
def _advance(
    env: Environment, victims: Victim, attackers: tuple[Attack, ...], ball: Ball, now: Evaluation
) -> Evaluation:
    def one(victim: Victim, crowd: tuple[Attack, ...], now: Evaluation) -> Evaluation:
        return evaluation.advance(env, victim, _conditions(crowd, ball), now, EVALUATION_STEPS, 0)[0]

    return jax.vmap(one)(victims, attackers, now)


def count_of(agents: Agent) -> int:
    """How many agents are stacked."""
    return jax.tree.leaves(agents)[0].shape[0]
