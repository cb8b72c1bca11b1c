"""The random numbers of a run, from its seeds: the only thing here that is asked of JAX.

Every key comes from a seed by these steps (`split(k, n)[i]` is the i-th of n keys made of k):

- `key(seed)` folded with the tag of the purpose, `crc32(purpose) | 2^31`: purpose "evaluation" for the
  returns, "visits" for the episodes of sampled actions, "certification" for what is
  searched at the states of these.
- Beginning: `split(., 3)` gives the keys of the resets, of what attacks remember (unused), and of the steps.
- Reset of episode e: `split(resets, episodes)[e]`, split in two: positions and velocities, each uniform in
  +-0.005 around rest.
- Steps come in chunks of 50: `split(steps)` gives the key of the chunks after, and of this one;
  `split(this, 50)[t]` is the key of step t, `split(., episodes)[e]` that of its episode e, and this is split
  in two: for the attack and for the action. All budgets and attacks share them.
- "random", l_inf: eps times uniform in [-1, 1], drawn from the key of the attack. l2: it is split in two, for
  a direction (normal, brought to length 1) and a radius (uniform, to the power 1 / features).
- "mad" starts at a tenth of what "random" would draw, from the same key.
- A sampled action is the mean plus the standard deviation times a normal draw from the key of the action.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple
from zlib import crc32

import jax
import numpy as np

CHUNK = 50
RESET_NOISE = 5e-3


class Draws(NamedTuple):
    """position, velocity: [episode, nq], [episode, nv], what a reset adds to the body at rest.

    steps: for every step on, (offset [episode, obs] from the ball of radius 1, normal [episode, act]).
    """

    position: np.ndarray
    velocity: np.ndarray
    steps: Iterator[tuple[np.ndarray, np.ndarray]]


def draws(seed: int, purpose: str, episodes: int, norm: str, sizes: tuple[int, int, int, int]) -> Draws:
    """What one member's episodes draw. sizes: of positions, velocities, observations and actions."""
    positions, velocities, observations, actions = sizes
    resets, _, steps = jax.random.split(_key(seed, purpose), 3)
    position, velocity = _resets(resets, episodes, positions, velocities)
    return Draws(np.array(position), np.array(velocity), _steps(steps, episodes, norm, observations, actions))


def search_starts(seed: int, states: int, episodes: int, starts: int, norm: str, size: int) -> np.ndarray:
    """[state, episode, start, obs], points of the unit ball from which MAD searches at the visited states.

    `split(key, (states, episodes))[i, e]`, split by the number of starts, each used as the attack's key.
    """

    def of_state(key):
        return jax.vmap(lambda key: _in_unit_ball(key, norm, size))(jax.random.split(key, starts))

    keys = jax.random.split(_key(seed, "certification"), (states, episodes))
    return np.array(jax.jit(jax.vmap(jax.vmap(of_state)))(keys))


def _key(seed, purpose):
    return jax.random.fold_in(jax.random.key(seed), np.uint32(crc32(purpose.encode()) | 2**31))


@partial(jax.jit, static_argnums=(1, 2, 3))
def _resets(key, episodes, positions, velocities):
    def one(key):
        position_key, velocity_key = jax.random.split(key)
        noise = partial(jax.random.uniform, minval=-RESET_NOISE, maxval=RESET_NOISE)
        return noise(position_key, (positions,)), noise(velocity_key, (velocities,))

    return jax.vmap(one)(jax.random.split(key, episodes))


def _steps(key, episodes, norm, observations, actions):
    while True:
        key, chunk = jax.random.split(key)
        offsets, normals = map(np.array, _chunk(chunk, episodes, norm, observations, actions))
        yield from zip(offsets, normals, strict=True)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _chunk(key, episodes, norm, observations, actions):
    def one(key):
        attack_key, action_key = jax.random.split(key)
        return _in_unit_ball(attack_key, norm, observations), jax.random.normal(action_key, (actions,))

    def step(key):
        return jax.vmap(one)(jax.random.split(key, episodes))

    return jax.vmap(step)(jax.random.split(key, CHUNK))


def _in_unit_ball(key, norm, size):
    if norm == "linf":
        return jax.random.uniform(key, (size,), minval=-1.0, maxval=1.0)
    direction_key, radius_key = jax.random.split(key)
    direction = jax.random.normal(direction_key, (size,))
    radius = jax.random.uniform(radius_key) ** (1.0 / size)
    return radius * direction / jax.numpy.sqrt((direction**2).sum())
