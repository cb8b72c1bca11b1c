"""Policies that squash what they draw, as those of SAC, TD3 and Brax's PPO do: tanh belongs to the task here.

`a = low + (tanh(u) + 1) (high - low) / 2` is a bijection, so it stands before the task as the clip of actions
does, and the policy is the one of u. TV and KL between two distributions of u are those of the actions. A
bound on the change of u bounds that of the action, in halves of its range, because tanh has a slope of at
most 1.
"""

from dataclasses import replace
from functools import cache

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.envs.api import Action, Environment, EnvState, Transition
from jaxprune.errors import SpecError


def squash(u: Float[Array, "*batch act"], low: float, high: float) -> Float[Array, "*batch act"]:
    """`low + (tanh(u) + 1) (high - low) / 2`."""
    return low + (jnp.tanh(u) + 1) * (0.5 * (high - low))


@cache
def squashed(env: Environment) -> Environment:
    """The environment that takes u and hands on `squash(u)`. Made once: the same gives the same object.

    Raises SpecError for discrete actions.
    """
    space = env.action_space
    if space.discrete:
        raise SpecError(f"squash: {env.task} has discrete actions; there is nothing to squash")

    def step(state: EnvState, action: Action) -> tuple[EnvState, Transition]:
        return env.step(state, squash(jnp.asarray(action), space.low, space.high))

    return replace(env, step=step, squashes=True)
