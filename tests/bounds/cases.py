"""Random networks, balls and attacks for the proof tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from jaxprune.bounds import BOUNDS, Bound, add, forward

STARTS, STEPS = 20, 6


@contextmanager
def listed(bound: Bound) -> Iterator[None]:
    """One more bound in the list, for a while."""
    add(bound)
    try:
        yield
    finally:
        del BOUNDS[bound.name]


def random_case(key, sizes, dtype=jnp.float32):
    """A masked network of widely varying scale, a state and a radius per feature."""
    keys = iter(jax.random.split(key, 4 * len(sizes)))
    gain, keep = 3 ** jax.random.uniform(next(keys), minval=-1), jax.random.uniform(next(keys), minval=0.1)
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        weight = gain * jax.random.normal(next(keys), (fan_out, fan_in), dtype) / np.sqrt(fan_in)
        mask = jax.random.bernoulli(next(keys), keep, weight.shape)
        layers.append((weight * mask, jax.random.normal(next(keys), (fan_out,), dtype)))
    state = 2 * jax.random.normal(next(keys), sizes[:1], dtype)
    eps = 10 ** jax.random.uniform(next(keys), sizes[:1], dtype, minval=-4, maxval=0.3)
    return tuple(layers), state, eps


def into_ball(point, eps, norm):
    """The nearest offset in the ball (linf) or the one on the same ray (l2)."""
    if norm == "linf":
        return jnp.clip(point, -eps, eps)
    return point * jnp.minimum(1, eps / jnp.maximum(jnp.linalg.norm(point), 1e-30))


@partial(jax.jit, static_argnames=("norm", "activation"))
def strongest_offsets(layers, state, eps, key, *, norm, activation):
    """Offsets an adversary would try: PGD on both distances from many starts, corners, random points."""
    output = partial(forward, layers, activation=activation)
    clean = output(state)

    def euclidean(offset):
        return jnp.sum((output(state + offset) - clean) ** 2)

    def span(offset):
        change = output(state + offset) - clean
        return jnp.max(change) - jnp.min(change)

    def climb(distance, offset):
        def step(offset, size):
            slope = jax.grad(distance)(offset)
            direction = jnp.sign(slope) if norm == "linf" else slope / (jnp.linalg.norm(slope) + 1e-30)
            return into_ball(offset + size * eps * direction, eps, norm), None

        return jax.lax.scan(step, offset, jnp.geomspace(1, 0.1, STEPS, dtype=state.dtype))[0]

    starts_key, corner_key = jax.random.split(key)
    shape = (STARTS, state.size)
    starts = eps * jax.random.uniform(starts_key, shape, state.dtype, minval=-1)
    corners = eps * jax.random.rademacher(corner_key, shape, state.dtype)
    halves = jnp.split(starts, 2)
    tried = [
        jax.vmap(partial(climb, goal))(half) for goal, half in zip((euclidean, span), halves, strict=True)
    ]
    return jax.vmap(partial(into_ball, eps=eps, norm=norm))(jnp.concatenate([*tried, starts, corners]))


@partial(jax.jit, static_argnames="activation")
def changes_reached(layers, state, offsets, *, activation):
    """Largest Euclidean size and span of the change of the outputs, as an attack would compute them."""
    output = partial(forward, layers, activation=activation)
    change = jax.vmap(lambda offset: output(state + offset) - output(state))(offsets)
    return jnp.max(jnp.linalg.norm(change, axis=1)), jnp.max(change.max(axis=1) - change.min(axis=1))


def largest_found(layers, state, eps, key, *, norm, activation):
    """What the strongest of the offsets reaches."""
    offsets = strongest_offsets(layers, state, eps, key, norm=norm, activation=activation)
    return changes_reached(layers, state, offsets, activation=activation)
