"""Two control problems with discrete actions, in pure JAX: `cartpole` and `acrobot`, as in Gymnasium's v1.

References: Barto, Sutton and Anderson, Neuronlike Adaptive Elements That Can Solve Difficult Learning Control
Problems, 1983; Sutton and Barto, Reinforcement Learning: An Introduction, 2018, section 11.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxprune.envs.api import ActionSpace, Environment, EnvState, Transition
from jaxprune.envs.episode import begin, proceed

HORIZON = 500

GRAVITY = 9.8

State = Float[Array, "4"]

CART, POLE, HALF_LENGTH, FORCE, CART_SECONDS = 1.0, 0.1, 0.5, 10.0, 0.02
"""Masses, half the length of the pole, force of either action, seconds of a step."""

FARTHEST, STEEPEST = 2.4, 12 * np.pi / 180
"""Where an episode ends: position of the cart, angle of the pole."""

ACROBOT_SECONDS = 0.2
FASTEST = np.array([4 * np.pi, 9 * np.pi], np.float32)
"""Largest speeds of the joints. Both links have mass, length and inertia 1, their centre in the middle."""


def cartpole(horizon: int = HORIZON) -> Environment:
    """Balance a pole on a cart by pushing it to the left (0) or to the right (1).

    Observed are position, speed, angle and its speed. Every step earns 1, also that on which the pole falls.
    """

    def reset(key: PRNGKeyArray) -> EnvState:
        first = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return begin(first, first)

    def step(state: EnvState, action: Int[Array, ""]) -> tuple[EnvState, Transition]:
        after = state.physics + CART_SECONDS * _cart_slope(state.physics, FORCE * (2.0 * action - 1.0))
        fallen = (jnp.abs(after[0]) > FARTHEST) | (jnp.abs(after[2]) > STEEPEST)
        return proceed(state, after, after, jnp.ones(()), fallen, horizon)

    return Environment(
        task="cartpole",
        physics="none",
        observation_size=4,
        action_space=ActionSpace(2, discrete=True),
        horizon=horizon,
        reset=reset,
        step=step,
        reward_range=(0.0, 1.0),
    )


def _cart_slope(state: State, force: Float[Array, ""]) -> State:
    """The derivative of the state of cart and pole by time."""
    _, speed, angle, turning = state
    sine, cosine, total = jnp.sin(angle), jnp.cos(angle), CART + POLE
    pushed = (force + POLE * HALF_LENGTH * turning**2 * sine) / total
    inertia = HALF_LENGTH * (4.0 / 3.0 - POLE * cosine**2 / total)
    falling = (GRAVITY * sine - cosine * pushed) / inertia
    return jnp.stack([speed, pushed - POLE * HALF_LENGTH * falling * cosine / total, turning, falling])


def acrobot(horizon: int = HORIZON) -> Environment:
    """Swing two links up by a torque of -1, 0 or 1 (actions 0, 1, 2) at the joint between them.

    Observed are cosine and sine of both angles, and their speeds. Every step costs 1, until the tip is one
    link's length above the upper joint.
    """

    def observe(state: State) -> Float[Array, "6"]:
        one, other, *speeds = state
        return jnp.stack([jnp.cos(one), jnp.sin(one), jnp.cos(other), jnp.sin(other), *speeds])

    def reset(key: PRNGKeyArray) -> EnvState:
        first = jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)
        return begin(first, observe(first))

    def step(state: EnvState, action: Int[Array, ""]) -> tuple[EnvState, Transition]:
        after = _runge_kutta(state.physics, action - 1.0)
        angles = jnp.mod(after[:2] + np.pi, 2 * np.pi) - np.pi
        after = jnp.concatenate([angles, jnp.clip(after[2:], -FASTEST, FASTEST)])
        up = -jnp.cos(after[0]) - jnp.cos(after[0] + after[1]) > 1.0
        return proceed(state, after, observe(after), jnp.where(up, 0.0, -1.0), up, horizon)

    return Environment(
        task="acrobot",
        physics="none",
        observation_size=6,
        action_space=ActionSpace(3, discrete=True),
        horizon=horizon,
        reset=reset,
        step=step,
        reward_range=(-1.0, 0.0),
    )


def _runge_kutta(state: State, torque: Float[Array, ""]) -> State:
    """The state after one step of the classical method of fourth order."""
    half = ACROBOT_SECONDS / 2
    first = _link_slope(state, torque)
    second = _link_slope(state + half * first, torque)
    third = _link_slope(state + half * second, torque)
    fourth = _link_slope(state + ACROBOT_SECONDS * third, torque)
    return state + ACROBOT_SECONDS / 6 * (first + 2 * second + 2 * third + fourth)


def _link_slope(state: State, torque: Float[Array, ""]) -> State:
    """The derivative of the state of both links by time."""
    one, other, turning, bending = state
    sine, cosine = jnp.sin(other), jnp.cos(other)
    whole, coupling, bent = 3.5 + cosine, 1.25 + 0.5 * cosine, 1.25
    outer = 0.5 * GRAVITY * jnp.sin(one + other)
    inner = -0.5 * (bending**2 + 2 * bending * turning) * sine + 1.5 * GRAVITY * jnp.sin(one) + outer
    pull = torque + coupling / whole * inner - 0.5 * turning**2 * sine - outer
    bends = pull / (bent - coupling**2 / whole)
    return jnp.stack([turning, bending, -(coupling * bends + inner) / whole, bends])
