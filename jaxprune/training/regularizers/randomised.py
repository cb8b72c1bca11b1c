"""Domain randomisation: every episode of training has a body of its own."""

from jaxprune.envs.api import Environment
from jaxprune.envs.randomised import drawing
from jaxprune.envs.shift import PARAMETERS, Shift
from jaxprune.training.regularizers.api import Leaves, Regularizer

SPREAD = {"spread": 1.4}
"""The largest factor of a body's constants, and 1 over the smallest."""

LEAST = {"spread": 1.0}


def world(env: Environment, leaves: Leaves) -> Environment:
    """Every factor of a `Shift` drawn at the reset, by itself, log-uniformly in `[1 / spread, spread]`.

    Raises SpecError where there is no body to shift.
    """
    spread = leaves["spread"]
    low, high = (Shift(**dict.fromkeys(PARAMETERS, end)) for end in (1.0 / spread, spread))
    return drawing(env, low, high)


RANDOMISED = Regularizer(
    "randomised", "every episode with masses, friction, ... of its own", SPREAD, least=LEAST, world=world
)
"""Peng et al., ICRA 2018 (arXiv 1710.06537)."""
