"""The attacker search: every victim meets adversaries of many settings, all trained in one program.

How hard an attack hits depends on its settings more than on anything else, so a victim's robustness is the
return under the strongest adversary of a stated search.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxprune import checkpoint, streams
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.envs import Environment
from jaxprune.policy import Params
from jaxprune.training import learner as learners
from jaxprune.training.adversary import Adversary, adversary_environment
from jaxprune.training.member import Learner, Progress, Recipe
from jaxprune.training.ppo import Hyperparameters

SEGMENT = 8
"""Iterations between two looks at the progress."""

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


def train(
    env: Environment,
    victims: Victim,
    ball: Ball,
    adversary: Adversary,
    settings: Hyperparameters,
    recipe: Recipe,
    iterations: int,
    seed: int,
    at_once: int,
    heard: Heard = lambda steps, returns: None,
    folder: Path | None = None,
) -> Adversary:
    """One adversary for every victim and setting: `adversary` with network leaves [victim, setting, ...].

    Args:
        env: where the victims act.
        victims: leaves [victim].
        ball: the budget, the same for all.
        adversary: what is learned, its network None.
        settings: leaves [setting], see `grid`.
        recipe: sizes of the training.
        iterations: PPO iterations of `recipe.steps` environment steps each.
        seed: with the place of a setting it decides all its random streams, the same for every victim.
        at_once: adversaries trained side by side in one program; more of them take turns.
        heard: told the progress.
        folder: where the adversaries of finished turns are kept, and taken from if the same search was
            stopped before its end.
    """
    count = np.size(settings.learning_rate)
    victim, setting = (axis.ravel() for axis in np.indices((jax.tree.leaves(victims)[0].shape[0], count)))
    of_setting = jax.random.split(streams.key(seed, "adversary"), count)
    networks = []
    for number, turn in enumerate(np.array_split(np.arange(victim.size), -(-victim.size // at_once))):
        of_pair = jax.tree.map(lambda leaf, who=victim[turn]: leaf[who], victims)
        hyper = jax.tree.map(lambda leaf, which=setting[turn]: jnp.asarray(leaf[which]), settings)
        keys = of_setting[setting[turn]]
        world = (env, adversary, recipe, of_pair, ball)
        networks.append(
            checkpoint.load_or_make(
                None if folder is None else folder / f"turn-{number}",
                like=partial(jax.eval_shape, lambda w=world, h=hyper, k=keys: _start(*w, h, k).agent.policy),
                make=partial(_learned, *world, hyper, keys, iterations, heard),
            )
        )
    return adversary.replace(
        network=jax.tree.map(
            lambda *parts: jnp.concatenate(parts).reshape(-1, count, *parts[0].shape[1:]), *networks
        )
    )


def _learned(
    env: Environment,
    adversary: Adversary,
    recipe: Recipe,
    victims: Victim,
    ball: Ball,
    hyper: Hyperparameters,
    keys: Key[Array, " pair"],
    iterations: int,
    heard: Heard,
) -> Params:
    """The networks of adversaries that are trained side by side, leaves [pair]."""
    population = _start(env, adversary, recipe, victims, ball, hyper, keys)
    for done in range(0, iterations, SEGMENT):
        until = min(done + SEGMENT, iterations)
        population, returns = _segment(
            env, adversary, recipe, victims, ball, population, done, until, iterations
        )
        heard((until - done) * recipe.steps * keys.size, np.asarray(returns))
    return population.agent.policy


_STATIC = ("env", "adversary", "recipe")


@partial(jax.jit, static_argnames=_STATIC)
def _start(
    env: Environment,
    adversary: Adversary,
    recipe: Recipe,
    victims: Victim,
    ball: Ball,
    hyper: Hyperparameters,
    keys: Key[Array, " pair"],
) -> Learner:
    def one(victim: Victim, hyper: Hyperparameters, key: PRNGKeyArray) -> Learner:
        world = adversary_environment(env, victim, ball, adversary)
        return learners.init(world, recipe, key, jnp.zeros(()), hyper)

    return jax.vmap(one)(victims, hyper, keys)


@partial(jax.jit, static_argnames=(*_STATIC, "iterations"), donate_argnames="population")
def _segment(
    env: Environment,
    adversary: Adversary,
    recipe: Recipe,
    victims: Victim,
    ball: Ball,
    population: Learner,
    done: Int[Array, ""],
    until: Int[Array, ""],
    iterations: int,
) -> tuple[Learner, Float[Array, " pair"]]:
    """Iterations `done` ... `until - 1` of `iterations`, and the victims' mean return in them."""

    def one(victim: Victim, learner: Learner, iteration: Int[Array, ""]) -> tuple[Learner, Progress]:
        world = adversary_environment(env, victim, ball, adversary)
        return learners.iterate(world, recipe, learner, iteration, iterations)

    def step(iteration: Int[Array, ""], now: tuple[Learner, Array, Array]) -> tuple[Learner, Array, Array]:
        population, total, episodes = now
        population, progress = jax.vmap(one, in_axes=(0, 0, None))(victims, population, iteration)
        return population, total - progress.return_sum, episodes + progress.episodes

    nothing = jnp.zeros_like(population.sparsity)
    population, total, episodes = jax.lax.fori_loop(done, until, step, (population, nothing, nothing))
    return population, total / episodes
