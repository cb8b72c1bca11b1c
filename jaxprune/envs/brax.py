"""Brax's own environments behind our interface: `brax/hopper` and its kin, under Brax's four physics.

They are other tasks than Gymnasium's of the same name: lighter bodies, other rewards and observations.
Brax asks for actions in [-1, 1] and scales them itself. Source: https://github.com/google/brax (envs).
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.envs.api import ActionSpace, Environment, EnvState, Transition
from jaxprune.envs.episode import begin, proceed


@contextmanager
def _without_notices() -> Iterator[None]:
    """Brax, wherever it runs, tells of what is missing or old in it: nothing a user here could change."""
    with redirect_stdout(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


with _without_notices():
    from brax import envs

HORIZON = 1000
"""Steps per episode, as Brax's training wrapper has it."""


def environment(name: str, backend: str, horizon: int) -> Environment:
    """Brax's environment `name` with physics `backend`, without its wrappers.

    `physics` in the state is Brax's own `State`. There is no cached reset and no lost final observation.
    """
    with _without_notices():
        brax_env = envs.get_environment(name, backend=backend)

    def reset(key: PRNGKeyArray) -> EnvState:
        with _without_notices():
            state = brax_env.reset(key)
        return begin(state, state.obs)

    def step(state: EnvState, action: Float[Array, " act"]) -> tuple[EnvState, Transition]:
        control = jnp.clip(action, -1.0, 1.0)
        with _without_notices():
            after = brax_env.step(state.physics, control)
        return proceed(
            state,
            after,
            observation=after.obs,
            reward=jnp.asarray(after.reward, jnp.float32),  # the pendulum's is a Python number
            terminated=after.done > 0.5,
            horizon=horizon,
            watched=(control, after.pipeline_state.q, after.pipeline_state.qd),
        )

    return Environment(
        task=f"brax/{name}",
        physics=f"brax-{backend}",
        observation_size=jax.eval_shape(reset, jax.random.key(0)).observation.size,
        action_space=ActionSpace(brax_env.action_size),
        horizon=horizon,
        reset=reset,
        step=step,
    )
