"""Brax's own environments behind our interface: `brax/hopper` and its kin, under Brax's four physics.

They are other tasks than Gymnasium's of the same name: lighter bodies, other rewards and observations.
Brax asks for actions in [-1, 1] and scales them itself. Source: https://github.com/google/brax (envs).
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.envs.api import ActionSpace, Environment, EnvState, Transition
from jaxprune.envs.episode import begin, proceed
from jaxprune.envs.task import Task


@contextmanager
def _without_notices() -> Iterator[None]:
    """Brax, wherever it runs, tells of what is missing or old in it: nothing a user here could change."""
    with redirect_stdout(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


HORIZON = 1000
"""Steps per episode, as Brax's training wrapper has it."""


EVERY = ("generalized", "spring", "positional", "mjx")

BACKENDS = {
    "ant": EVERY,
    "halfcheetah": EVERY,
    "hopper": EVERY,
    "humanoid": EVERY,
    "humanoidstandup": EVERY,
    "inverted_double_pendulum": EVERY,
    "inverted_pendulum": EVERY,
    "pusher": EVERY,
    "reacher": EVERY,
    "swimmer": ("generalized",),
    "walker2d": EVERY,
}
"""Brax's environments, and the physics that each runs under."""


def tasks() -> Iterator[Task]:
    """Brax's environments as they are listed."""
    for name, backends in BACKENDS.items():
        yield Task(
            name=f"brax/{name}",
            about=f"Brax's own {name}",
            build=partial(environment, name),
            horizon=HORIZON,
            physics=tuple(f"brax-{backend}" for backend in backends),
        )


def environment(name: str, physics: str, horizon: int, charge: str = "clipped") -> Environment:
    """Brax's environment `name` under `physics`, without its wrappers.

    `physics` in the state is Brax's own `State`. There is no cached reset and no lost final observation.
    charge: "clipped", for Brax charges no other action.
    """
    with _without_notices():
        from brax import envs  # here, because it takes seconds

        brax_env = envs.get_environment(name, backend=physics.removeprefix("brax-"))

    def reset(key: PRNGKeyArray) -> EnvState:
        with _without_notices():
            state = brax_env.reset(key)
        return begin(state, state.obs)  # pyright: ignore[reportArgumentType]

    def step(state: EnvState, action: Float[Array, " act"]) -> tuple[EnvState, Transition]:
        control = jnp.clip(action, -1.0, 1.0)
        with _without_notices():
            after = brax_env.step(state.physics, control)
        return proceed(
            state,
            after,
            observation=after.obs,  # pyright: ignore[reportArgumentType]
            reward=jnp.asarray(after.reward, jnp.float32),  # the pendulum's is a Python number
            terminated=after.done > 0.5,
            horizon=horizon,
            watched=(control, after.pipeline_state.q, after.pipeline_state.qd),  # pyright: ignore[reportOptionalMemberAccess]
        )

    return Environment(
        task=f"brax/{name}",
        physics=physics,
        observation_size=jax.eval_shape(reset, jax.random.key(0)).observation.size,
        action_space=ActionSpace(brax_env.action_size),
        horizon=horizon,
        reset=reset,
        step=step,
    )
