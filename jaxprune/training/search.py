"""The attacker search: every victim meets adversaries of many settings, all trained in one program.

How hard an attack hits depends on its settings more than on anything else, so a victim's robustness is the
return under the strongest adversary of a stated search.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxprune import checkpoint, chunks, streams
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.envs import Environment
from jaxprune.saving import Saver
from jaxprune.training import learner as learners
from jaxprune.training import ppo
from jaxprune.training.adversary import Adversary, adversary_environment
from jaxprune.training.member import Learner, Progress, Recipe
from jaxprune.training.ppo import Hyperparameters, Trainable

SEGMENT = 8
"""Iterations between two looks at the progress."""

SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""Of a turn that is not done."""

Heard = Callable[[int, Float[np.ndarray, " pair"]], None]
"""Told the environment steps since the last time, and the victims' mean return in them under the exploring
adversary (NaN where no episode ended)."""


def grid(
    anneal: Sequence[float | int],
    clip: Sequence[float | int],
    entropy_weight: Sequence[float | int],
    learning_rate: Sequence[float | int],
    value_learning_rate: Sequence[float | int],
) -> Hyperparameters:
    """Every combination as leaves [setting], the last argument running fastest."""
    settings = [
        Hyperparameters(
            anneal=bool(lowered),
            clip=clipped,
            entropy_weight=entropy,
            learning_rate=rate,
            value_rate=float(np.float32(value_rate) / np.float32(rate)),
        )
        for lowered, clipped, entropy, rate, value_rate in product(
            anneal, clip, entropy_weight, learning_rate, value_learning_rate
        )
    ]
    return jax.tree.map(lambda *leaves: np.array(leaves, np.float32), *settings)


Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Search:
    """Adversaries of many settings against many victims, trained side by side.

    env: where the victims act.
    victims: leaves [victim].
    ball: the budget, the same for all.
    adversary: what is learned, its network None.
    settings: leaves [setting], see `grid`.
    recipe: sizes of the training.
    iterations: PPO iterations of `recipe.steps` environment steps each, over which learning rates anneal.
    seed: with the place of a setting it decides all its random streams, the same for every victim.
    chunk: how many adversaries are trained side by side in one program; more of them take turns.
    heard: told the progress.
    folder: where what turns have brought is kept, and taken from if the same search was stopped before its
        end.
    sampled: whether the victims draw their actions.
    """

    env: Environment
    victims: Victim
    ball: Ball
    adversary: Adversary
    settings: Hyperparameters
    recipe: Recipe
    iterations: int
    seed: int
    chunk: int
    heard: Heard = lambda steps, returns: None
    folder: Path | None = None
    sampled: bool = False

    @property
    def every_setting(self) -> Int[np.ndarray, "victim setting"]:
        """The number of each setting, for each victim."""
        victims = jax.tree.leaves(self.victims)[0].shape[0]
        return np.tile(np.arange(np.size(self.settings.learning_rate)), (victims, 1))

    def advance(
        self,
        setting: Int[np.ndarray, "victim adversary"],
        until: int,
        keep: Callable[[Learner], Kept],
        place: str,
        done: int = 0,
        learners: Learner | None = None,
    ) -> Kept:
        """Train until iteration `until`, leaves [victim, adversary].

        Args:
            setting: the setting of each adversary.
            until: how many iterations are done then.
            keep: what is kept of learners, leaves [pair].
            place: the name of the folder it is kept in.
            done: how many iterations are done already.
            learners: where they are, leaves [victim, adversary]; None begins anew.
        """
        victim = np.indices(setting.shape)[0].ravel()
        parts = []
        for number, turn in enumerate(chunks.rows(victim.size, self.chunk)):
            of_pair = jax.tree.map(lambda leaf, who=victim[turn]: leaf[who], self.victims)
            if learners is None:
                begin = partial(self._begin, of_pair, setting.ravel()[turn])
            else:
                begin = partial(_places, learners, turn)
            own = None if self.folder is None else self.folder / place / f"turn-{number}"
            pairs = len(set(turn.tolist()))
            learn = partial(_learned, self, of_pair, pairs, begin, done, until, own)
            parts.append(_kept(own, learn, begin, keep))
        return jax.tree.map(
            lambda *turns: jnp.concatenate(turns)[: victim.size].reshape(*setting.shape, *turns[0].shape[1:]),
            *parts,
        )

    def from_others(
        self, networks: Trainable, setting: Int[np.ndarray, " victim"], key: PRNGKeyArray
    ) -> Learner:
        """Learners [victim, 1] with the networks (leaves [victim]) of other adversaries, all else anew.

        Their random streams come from `key`, the same for every victim.
        """
        keys = jnp.broadcast_to(key, setting.shape)
        anew = self._start(self.victims, setting, keys)
        agent = anew.agent.replace(policy=networks.policy, log_std=networks.log_std, value=networks.value)
        return jax.tree.map(lambda leaf: leaf[:, None], anew.replace(agent=agent))

    def _begin(self, victims: Victim, setting: Int[np.ndarray, " pair"]) -> Learner:
        """Learners [pair] before their first step."""
        keys = jax.random.split(streams.key(self.seed, "adversary"), np.size(self.settings.learning_rate))
        return self._start(victims, setting, keys[setting])

    def _start(
        self, victims: Victim, setting: Int[np.ndarray, " pair"], keys: Key[Array, " pair"]
    ) -> Learner:
        hyper = jax.tree.map(lambda leaf: jnp.asarray(leaf[setting]), self.settings)
        return _start(self.env, self.adversary, self.recipe, self.sampled, victims, self.ball, hyper, keys)


def train(
    env: Environment,
    victims: Victim,
    ball: Ball,
    adversary: Adversary,
    settings: Hyperparameters,
    recipe: Recipe,
    iterations: int,
    seed: int,
    chunk: int,
    heard: Heard = lambda steps, returns: None,
    folder: Path | None = None,
) -> Adversary:
    """One adversary for every victim and setting: `adversary` with network leaves [victim, setting, ...].

    The arguments are the fields of `Search`.
    """
    search = Search(env, victims, ball, adversary, settings, recipe, iterations, seed, chunk, heard, folder)
    learned = search.advance(search.every_setting, iterations, networks, "rung-1")
    return adversary.replace(network=learned.policy)


def networks(learner: Learner) -> Trainable:
    """What has been learned: all that another adversary could start from."""
    return ppo.trainable(learner.agent)


def _places(learners: Learner, turn: Int[np.ndarray, " pair"]) -> Learner:
    """Some of the pairs of learners [victim, adversary]."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[turn], learners)


def _kept(
    turn: Path | None,
    learn: Callable[[], Learner],
    begin: Callable[[], Learner],
    keep: Callable[[Learner], Kept],
) -> Kept:
    """What is kept of the learners of a turn, from its folder if it is done; `begin` tells their shapes."""
    part = checkpoint.load_or_make(
        turn, like=lambda: jax.eval_shape(lambda: keep(begin())), make=lambda: keep(learn())
    )
    if turn is not None:
        shutil.rmtree(so_far(turn), ignore_errors=True)
    return part


def so_far(turn: Path) -> Path:
    """Where a turn that is not done yet is kept: beside where it will be."""
    return turn.with_name(f"{turn.name}-so-far")


def _learned(
    search: Search,
    victims: Victim,
    pairs: int,
    begin: Callable[[], Learner],
    done: int,
    until: int,
    turn: Path | None,
) -> Learner:
    """Adversaries that are trained side by side, leaves [pair], from where the turn was stopped.

    pairs: how many there are, those not counted that only fill the chunk. turn: where the turn will be kept.
    """
    part = None if turn is None else so_far(turn)
    population, now = _begun(part, begin, done)
    saved = time.monotonic()
    with Saver(part) as saver:
        while now < until:
            then = min(now + SEGMENT, until)
            population, returns = _segment(
                search.env,
                search.adversary,
                search.recipe,
                search.sampled,
                victims,
                search.ball,
                population,
                now,
                then,
                search.iterations,
            )
            steps, now = (then - now) * search.recipe.steps * pairs, then
            try:
                search.heard(steps, np.asarray(returns))
            except KeyboardInterrupt:
                saver.save(now, population)
                raise
            if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                saver.save(now, population)
                saved = time.monotonic()
    return population


def _begun(part: Path | None, begin: Callable[[], Learner], done: int) -> tuple[Learner, int]:
    """The learners of a turn and their iterations: as they were stopped, or as they begin."""
    stopped = None if part is None else checkpoint.latest(part)
    if part is None or stopped is None:
        return begin(), done
    return checkpoint.load(part, jax.eval_shape(begin)), stopped


_STATIC = ("env", "adversary", "recipe", "sampled")


@partial(jax.jit, static_argnames=_STATIC)
def _start(
    env: Environment,
    adversary: Adversary,
    recipe: Recipe,
    sampled: bool,
    victims: Victim,
    ball: Ball,
    hyper: Hyperparameters,
    keys: Key[Array, " pair"],
) -> Learner:
    def one(pair: tuple[Victim, Hyperparameters, PRNGKeyArray]) -> Learner:
        victim, hyper, key = pair
        world = adversary_environment(env, victim, ball, adversary, sampled=sampled)
        return learners.init(world, recipe, key, jnp.zeros(()), hyper)

    return chunks.mapped(one, (victims, hyper, keys), len(keys), None)


@partial(jax.jit, static_argnames=(*_STATIC, "iterations"), donate_argnames="population")
def _segment(
    env: Environment,
    adversary: Adversary,
    recipe: Recipe,
    sampled: bool,
    victims: Victim,
    ball: Ball,
    population: Learner,
    done: Int[Array, ""],
    until: Int[Array, ""],
    iterations: int,
) -> tuple[Learner, Float[Array, " pair"]]:
    """Iterations `done` ... `until - 1` of `iterations`, and the victims' mean return in them."""

    def one(iteration: Int[Array, ""], pair: tuple[Victim, Learner]) -> tuple[Learner, Progress]:
        victim, learner = pair
        world = adversary_environment(env, victim, ball, adversary, sampled=sampled)
        return learners.iterate(world, recipe, learner, iteration, iterations)

    def step(iteration: Int[Array, ""], now: tuple[Learner, Array, Array]) -> tuple[Learner, Array, Array]:
        population, total, episodes = now
        pairs = (victims, population)
        population, progress = chunks.mapped(partial(one, iteration), pairs, population.sparsity.size, None)
        return population, total - progress.return_sum, episodes + progress.episodes

    nothing = jnp.zeros_like(population.sparsity)
    population, total, episodes = jax.lax.fori_loop(done, until, step, (population, nothing, nothing))
    return population, total / episodes
