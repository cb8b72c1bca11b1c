"""Victims whose best perturbation is known, and random ones."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxprune.attacks import ATTACKS, CRITICS, TRAINING, Attack, Rule, Victim
from jaxprune.budget import Ball
from jaxprune.policy import Agent, Normalizer

OBS, ACT = 5, 3

WEIGHTS = np.array([[1.0], [-2.0], [0.5], [-0.25], [3.0]], np.float32)
"""A policy with one action and a value network, both linear with these slopes."""


def random_network(seed, *widths):
    """Gaussian weights of unit gain: outputs that depend strongly on what is seen."""
    draw = np.random.default_rng(seed)
    return {
        f"layer_{i}": {
            "kernel": np.float32(draw.normal(size=(n, m)) / np.sqrt(n)),
            "bias": np.float32(draw.normal(size=m) / 4),
        }
        for i, (n, m) in enumerate(itertools.pairwise(widths))
    }


def linear_network(weights):
    """`x -> x weights`, weights [in, out]."""
    return {"layer_0": {"kernel": weights, "bias": np.zeros(weights.shape[1], np.float32)}}


def random_victim(seed, *, discrete=False, space="normalised", log_std=0.0):
    return Victim(
        Agent(
            policy=random_network(seed, OBS, 16, 16, ACT),
            log_std=None if discrete else jnp.full(ACT, log_std),
            value=random_network(seed + 1, OBS, 16, 1),
            normalizer=Normalizer(
                jnp.linspace(-1.0, 1.0, OBS), jnp.linspace(0.5, 4.0, OBS), jnp.float32(100.0)
            ),
        ),
        space,
    )


def linear_victim(*, discrete=False):
    """`V(s) = w s`, and `mu(s) = w s` or `z(s) = (w s, 0)`: pushing along w is optimal for every rule."""
    kernel = np.concatenate([WEIGHTS, 0 * WEIGHTS], 1) if discrete else WEIGHTS
    return Victim(
        Agent(
            policy=linear_network(kernel),
            log_std=None if discrete else jnp.zeros(1),
            value=linear_network(WEIGHTS),
            normalizer=Normalizer(jnp.zeros(OBS), jnp.ones(OBS), jnp.float32(1.0)),
        )
    )


def every_attack(seed, *, discrete=False) -> tuple[Rule, ...]:
    """One rule of each attack; those that carry a network have a random one."""
    return tuple(ready(attack, seed, discrete) for attack in ATTACKS.values())


def ready(attack: Attack, seed: int, discrete: bool) -> Rule:
    if attack.needs == CRITICS:
        critic = random_network(seed, OBS, 16, ACT) if discrete else random_network(seed, OBS + ACT, 16, 1)
        return attack.rule(critic, *attack.settings[:1])
    rule = attack.rule()
    if attack.needs == TRAINING:
        return rule.replace(network=random_network(seed, OBS, 16, rule.action_size(OBS, ACT)))
    return rule


@jax.jit
def first_step(attack, key, victim, point, ball):
    start_key, key = jax.random.split(key)
    return attack.perturb(key, victim, point, ball, attack.start(start_key, point))[0]


def shown(attack, key, victim, point, eps, norm="linf"):
    """What a fresh episode's first step shows."""
    return first_step(attack, key, victim, point, Ball(jnp.asarray(eps, jnp.float32), norm))


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
