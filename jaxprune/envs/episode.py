"""How a step ends an episode: one rule for every environment."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from jaxprune.envs.api import EnvState, Transition


def begin(physics: Any, observation: Float[Array, " obs"]) -> EnvState:
    """The state of an episode that starts from `physics`."""
    return EnvState(
        physics=physics, observation=observation, time=jnp.zeros((), jnp.int32), ended=jnp.zeros((), bool)
    )


def proceed(
    state: EnvState,
    physics: Any,
    observation: Float[Array, " obs"],
    reward: Float[Array, ""],
    terminated: Bool[Array, ""],
    horizon: int,
    watched: PyTree[Array] = (),
) -> tuple[EnvState, Transition]:
    """Go from `state` to `physics`, unless a number there is not finite.

    The step fails where the observation, the reward or anything in `watched` (action, positions, ...) is
    NaN or infinite: the episode then terminates with reward 0 and stays at the last finite state, so no NaN
    reaches a learner. An episode that terminates on its last step is terminated, not truncated. One that has
    ended before stays where it is.
    """
    going = ~state.ended
    failed = going & ~_all_finite((observation, reward, watched))
    stays = failed | state.ended
    physics, observation = jax.tree.map(
        lambda new, last: jnp.where(stays, last, new),
        (physics, observation),
        (state.physics, state.observation),
    )
    time = state.time + going
    terminated = going & (terminated | failed)
    truncated = going & (time >= horizon) & ~terminated
    transition = Transition(
        observation=observation,
        reward=jnp.where(stays, 0.0, reward),
        terminated=terminated,
        truncated=truncated,
        failed=failed,
    )
    ended = state.ended | terminated | truncated
    return EnvState(physics=physics, observation=observation, time=time, ended=ended), transition


def _all_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
