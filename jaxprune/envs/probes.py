"""Probes: two tasks without physics whose best return, with and without an adversary, is a formula.

`probe/linear`: a point x in [-1, 1] moves by the action, x' = clip(x + a, -1, 1), and earns 1 - x'^2. It is
shown as an observation o with x = w . o, so the linear policy a = -w . o is optimal and earns 1 per step.
An adversary that adds d with |d|_inf <= eps moves the point to |x'| <= eps |w|_1, and to no less at every
step with d = -eps sign(x) sign(w), as long as eps |w|_1 <= 1.

`probe/categorical`: name the largest of three numbers. A right answer earns 1 and turns the numbers round by
one place, a wrong one ends the episode. The policy whose logits are the observation is optimal and earns 1
per step. An adversary with |d|_inf <= eps fools it at the first step where the two largest numbers are less
than 2 eps apart, and never where they are further apart.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxprune.envs.api import ActionSpace, Environment, EnvState, Transition
from jaxprune.envs.episode import begin, proceed

HORIZON = 32

WEIGHTS = np.array([1.0, -0.5, 0.25, 0.0], np.float32)
"""w of `probe/linear`. The last number of the observation says nothing about the point."""


class Point(struct.PyTreeNode):
    """position: x. nuisance: the part of the observation that is orthogonal to w, fixed in an episode."""

    position: Float[Array, "*batch"]
    nuisance: Float[Array, "*batch obs"]


def linear(horizon: int = HORIZON) -> Environment:
    """The environment `probe/linear`."""

    def observe(point: Point) -> Float[Array, " obs"]:
        return point.position * WEIGHTS / np.sum(WEIGHTS**2) + point.nuisance

    def reset(key: PRNGKeyArray) -> EnvState:
        position_key, nuisance_key = jax.random.split(key)
        noise = jax.random.normal(nuisance_key, WEIGHTS.shape)
        point = Point(
            position=jax.random.uniform(position_key, minval=-1.0, maxval=1.0),
            nuisance=noise - WEIGHTS * (WEIGHTS @ noise) / np.sum(WEIGHTS**2),
        )
        return begin(point, observe(point))

    def step(state: EnvState, action: Float[Array, " act"]) -> tuple[EnvState, Transition]:
        control = jnp.clip(action[0], -1.0, 1.0)
        position = jnp.clip(state.physics.position + control, -1.0, 1.0)
        point = state.physics.replace(position=position)
        return proceed(
            state,
            point,
            observation=observe(point),
            reward=1.0 - position**2,
            terminated=jnp.zeros((), bool),
            horizon=horizon,
            watched=control,
        )

    return Environment(
        task="probe/linear",
        physics="none",
        observation_size=WEIGHTS.size,
        action_space=ActionSpace(1),
        horizon=horizon,
        reset=reset,
        step=step,
        reward_range=(0.0, 1.0),
        terminates=False,
    )


def linear_policy(observation: Float[Array, " obs"]) -> Float[Array, " act"]:
    """The optimal action -w . o, as a vector of one."""
    return -jnp.matmul(WEIGHTS, observation)[None]


def linear_attack(observation: Float[Array, " obs"], eps: float) -> Float[Array, " obs"]:
    """The strongest perturbation under the optimal policy, -eps sign(w . o) sign(w), in raw units."""
    side = jnp.where(WEIGHTS @ observation < 0, -1.0, 1.0)
    return -eps * side * np.sign(WEIGHTS)


def linear_return(eps: float, horizon: int = HORIZON) -> float:
    """The optimal policy's return under its strongest attack, T (1 - (eps |w|_1)^2), for eps |w|_1 <= 1."""
    return horizon * (1.0 - (eps * float(np.abs(WEIGHTS).sum())) ** 2)


def categorical(horizon: int = HORIZON) -> Environment:
    """The environment `probe/categorical`."""
    choices = 3

    def reset(key: PRNGKeyArray) -> EnvState:
        numbers = jax.random.normal(key, (choices,))
        return begin(numbers, numbers)

    def step(state: EnvState, action: Int[Array, ""]) -> tuple[EnvState, Transition]:
        right = action == categorical_policy(state.physics)
        numbers = jnp.roll(state.physics, 1)
        return proceed(
            state,
            numbers,
            observation=numbers,
            reward=right.astype(jnp.float32),
            terminated=~right,
            horizon=horizon,
        )

    return Environment(
        task="probe/categorical",
        physics="none",
        observation_size=choices,
        action_space=ActionSpace(choices, discrete=True),
        horizon=horizon,
        reset=reset,
        step=step,
        reward_range=(0.0, 1.0),
    )


def categorical_policy(observation: Float[Array, " obs"]) -> Int[Array, ""]:
    """The optimal choice: the place of the largest number."""
    return jnp.argmax(observation)


def categorical_attack(observation: Float[Array, " obs"], eps: float) -> Float[Array, " obs"]:
    """The strongest perturbation under the optimal policy: the largest number down, the next one up."""
    _, places = jax.lax.top_k(observation, 2)
    return jnp.zeros_like(observation).at[places].set(jnp.array([-eps, eps]))


def categorical_return(first: Float[Array, " obs"], eps: float, horizon: int = HORIZON) -> Float[Array, ""]:
    """The optimal policy's return from the observation `first` under its strongest attack: all or nothing."""
    (largest, second), _ = jax.lax.top_k(first, 2)
    return jnp.where(largest - second < 2 * eps, 0.0, float(horizon))
