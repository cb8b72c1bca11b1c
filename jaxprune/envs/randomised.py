"""Domain randomisation: every episode of a body that is shifted by chance."""

from dataclasses import replace
from functools import cache

import jax
from jaxtyping import PRNGKeyArray

from jaxprune import streams
from jaxprune.envs.api import Environment, EnvState
from jaxprune.envs.shift import PARAMETERS, Shift, check_range, draw_shift


def randomised(env: Environment, low: Shift, high: Shift) -> Environment:
    """The environment whose every reset draws a shift, each factor log-uniform between `low` and `high`.

    The shift has a stream of its own, so an episode starts where that of `env` starts with the same key.
    Made once: equal arguments give the same object.

    Raises SpecError where nothing can be shifted, or there is nothing to draw from.
    """
    env.check_shiftable()
    check_range(low, high)
    return _made(env, *(tuple(float(getattr(end, name)) for name in PARAMETERS) for end in (low, high)))


@cache
def _made(env: Environment, low: tuple[float, ...], high: tuple[float, ...]) -> Environment:
    return drawing(env, Shift(*low), Shift(*high))


def drawing(env: Environment, low: Shift, high: Shift) -> Environment:
    """The same for ends that may be traced: they are not checked, and it is made anew every time.

    Raises SpecError where nothing can be shifted.
    """
    env.check_shiftable()

    def reset(key: PRNGKeyArray) -> EnvState:
        drawn = draw_shift(jax.random.fold_in(key, streams.tag("shifts")), low, high)
        return env.reset_under(key, drawn)

    return replace(env, reset=reset)
