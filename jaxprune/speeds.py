"""How fast this machine is: what a task's physics and a known piece of network cost here.

In processor seconds, that is summed over all cores: other programs on the machine change them little.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.coefficients import REFERENCE_SECONDS
from jaxprune.envs import Environment, EnvState

MEASURED_PHYSICS = ("native", "none")
"""Physics whose program compiles in a moment, so that its cost can be measured before a run."""

SECONDS_OF_MEASURING = 0.3

MOST_AT_ONCE = 256
"""Simulations that are measured side by side: of more, each costs as much."""

STEPS_OF_PHYSICS = 16


def physics_seconds(env: Environment, count: int) -> float:
    """Processor seconds of one environment step of the physics alone, in a batch of `count`."""
    batch = min(count, MOST_AT_ONCE)
    state = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), batch))
    size = env.action_space.size
    action = jnp.zeros(batch, jnp.int32) if env.action_space.discrete else jnp.zeros((batch, size))

    @jax.jit
    def play(state: EnvState) -> EnvState:
        go = jax.vmap(lambda state, action: env.step(state, action)[0])
        return jax.lax.scan(lambda now, _: (go(now, action), None), state, length=STEPS_OF_PHYSICS)[0]

    return seconds_of(partial(play, state)) / (batch * STEPS_OF_PHYSICS)


def slowness() -> float:
    """How much longer the arithmetic of networks takes here than where `costs` was fitted."""
    return network_seconds() / REFERENCE_SECONDS


def network_seconds() -> float:
    """Processor seconds of some gradient steps of small networks, side by side."""
    keys = jax.random.split(jax.random.key(0), 3)
    weights = [0.1 * jax.random.normal(key, (8, 64, 64)) for key in keys]
    x = jnp.ones((8, 256, 64))

    def loss(weights: list[Float[Array, "64 64"]], x: Float[Array, "batch 64"]) -> Float[Array, ""]:
        for weight in weights:
            x = jnp.tanh(x @ weight)
        return x.sum()

    def step(weights: list[Array], _: None) -> tuple[list[Array], None]:
        slopes = jax.vmap(jax.grad(loss))(weights, x)
        return jax.tree.map(lambda weight, slope: weight - 1e-3 * slope, weights, slopes), None

    return seconds_of(partial(jax.jit(lambda w: jax.lax.scan(step, w, length=20)[0]), weights))


def seconds_of(run: Callable[[], Any]) -> float:
    """Processor seconds of a call, once it has been compiled: the least of several."""
    jax.block_until_ready(run())
    least, began = float("inf"), time.process_time()
    while time.process_time() - began < SECONDS_OF_MEASURING:
        then = time.process_time()
        jax.block_until_ready(run())
        least = min(least, time.process_time() - then)
    return least
