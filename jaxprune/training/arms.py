"""Training arms: plain PPO, or PPO with regularisers, as a user asks for them."""

import math
from typing import NamedTuple

from jaxprune.errors import SpecError, unknown_name
from jaxprune.training.regularizers import REGULARIZERS, Regularizer

PLAIN = "ppo"
"""The arm without a regulariser."""


class Arm(NamedTuple):
    """regularizers: what is added to the loss of PPO. leaves: the numbers of each, by name."""

    regularizers: tuple[Regularizer, ...]
    leaves: dict[str, dict[str, float]]


def read_arm(given: str) -> Arm:
    """`ppo`, or regularisers joined by "+", each `NAME` or `NAME:number=value:number=value`.

    >>> read_arm("sa-sgld:kappa=0.3").leaves["sa-sgld"]["kappa"]
    0.3

    Raises SpecError for an unknown name, and a value that is no finite number of at least 0.
    """
    if given == PLAIN:
        return Arm((), {})
    chosen, leaves = [], {}
    for part in given.split("+"):
        name, *settings = part.split(":")
        if name not in REGULARIZERS:
            raise unknown_name("arm", name, (PLAIN, *REGULARIZERS))
        if name in leaves:
            raise SpecError(f"arm: {name} is given twice in {given!r}")
        chosen.append(REGULARIZERS[name])
        leaves[name] = dict(REGULARIZERS[name].leaves) | dict(_setting(name, text) for text in settings)
    return Arm(tuple(chosen), leaves)


def _setting(name: str, text: str) -> tuple[str, float]:
    leaf, _, value = text.partition("=")
    if leaf not in REGULARIZERS[name].leaves:
        raise unknown_name(f"arm: {name}", leaf, REGULARIZERS[name].leaves)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise SpecError(f"arm: {name}:{leaf} {value!r} must be a finite number of at least 0")
    return leaf, number
