"""A suite of discrete control: environments of gymnax behind our interface, `gymnax/CartPole-v1` and its kin.

Those with discrete actions and observations that are rows or small images of numbers; images are laid out in
a row. They are listed where the package is installed: pip install 'jaxprune[suite]'. Source:
https://github.com/RobertTLange/gymnax.
"""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from jaxprune.envs.api import ActionSpace, Environment, EnvState, Transition
from jaxprune.envs.episode import begin, proceed
from jaxprune.envs.task import Task
from jaxprune.errors import SpecError, unknown_name

PREFIX = "gymnax/"

HORIZONS = {
    "CartPole-v1": 500,
    "Acrobot-v1": 500,
    "MountainCar-v0": 200,
    "Catch-bsuite": 1000,
    "DiscountingChain-bsuite": 100,
    "UmbrellaChain-bsuite": 100,
    "Asterix-MinAtar": 1000,
    "Breakout-MinAtar": 1000,
    "Freeway-MinAtar": 2500,
    "Seaquest-MinAtar": 1000,
    "SpaceInvaders-MinAtar": 1000,
}
"""The environments, and the steps after which gymnax truncates an episode of each."""


def tasks() -> Iterator[Task]:
    """The environments as they are listed; none where gymnax is not installed. It is not imported."""
    if find_spec("gymnax") is None:
        return
    for name, horizon in HORIZONS.items():
        yield Task.in_jax(f"{PREFIX}{name}", f"gymnax's {name}", partial(environment, name), horizon)


def missing(name: str) -> SpecError:
    """Why there is no task `gymnax/NAME`."""
    if name.removeprefix(PREFIX) in HORIZONS:
        return SpecError(f"env: {name} is of the package gymnax: pip install 'jaxprune[suite]'")
    return unknown_name("env", name, (f"{PREFIX}{known}" for known in HORIZONS))


def environment(name: str, horizon: int) -> Environment:
    """Gymnax's environment `name` with its own numbers, without its resets and its time limit.

    `physics` in the state holds gymnax's own state, and the key of which every step takes one.
    """
    try:
        import gymnax  # pyright: ignore[reportMissingImports]  # here, because it takes seconds
    except ModuleNotFoundError as error:
        raise SpecError(
            f"env: {PREFIX}{name}: gymnax cannot be imported ({error}); pip install 'jaxprune[suite]'"
        ) from None

    theirs, numbers = gymnax.make(name)

    def reset(key: PRNGKeyArray) -> EnvState:
        later, now = jax.random.split(key)
        observation, state = theirs.reset_env(now, numbers)
        physics = {"state": jax.tree.map(jnp.asarray, state), "key": jax.random.key_data(later)}
        return begin(physics, jnp.ravel(observation))

    def step(state: EnvState, action: Int[Array, ""]) -> tuple[EnvState, Transition]:
        before = state.physics["state"]
        later, now = jax.random.split(jax.random.wrap_key_data(state.physics["key"]))
        observation, after, reward, terminated, _ = theirs.step_env(now, before, action, numbers)
        after = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, before)
        return proceed(
            state,
            {"state": after, "key": jax.random.key_data(later)},
            observation=jnp.ravel(observation),
            reward=jnp.asarray(reward, jnp.float32),
            terminated=terminated,
            horizon=horizon,
            watched=after,
        )

    return Environment(
        task=f"{PREFIX}{name}",
        physics="none",
        observation_size=jax.eval_shape(reset, jax.random.key(0)).observation.size,
        action_space=ActionSpace(theirs.num_actions, discrete=True),
        horizon=horizon,
        reset=reset,
        step=step,
    )
