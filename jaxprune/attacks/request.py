"""What a user may ask for: attacks by name and a budget that fits the observation."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from jaxprune.attacks.api import NORMS, Attack
from jaxprune.attacks.critic import Critic
from jaxprune.attacks.fgsm import Fgsm
from jaxprune.attacks.mad import Mad, MadLangevin
from jaxprune.attacks.none import Nothing
from jaxprune.attacks.random import Gaussian, Uniform
from jaxprune.attacks.sensor import Sensor
from jaxprune.errors import SpecError, unknown_name

DRIFT = 0.05
"""Units of the attack's space per step by which "sensor-drift" moves a failed reading."""

ATTACKS: dict[str, Callable[[], Attack]] = {
    "none": Nothing,
    "random": Uniform,
    "random-gaussian": Gaussian,
    "fgsm": Fgsm,
    "mad": Mad,
    "mad-sgld": MadLangevin,
    "critic": Critic,
    "sensor": Sensor,
    "sensor-drift": partial(Sensor, drift=DRIFT, name="sensor-drift"),
}
"""The attacks that need nothing learned, by the name they carry in tables."""


def make(name: str) -> Attack:
    """The attack of that name with its published settings; SpecError if there is none."""
    if name not in ATTACKS:
        raise unknown_name("attack", name, ATTACKS)
    return ATTACKS[name]()


def make_all(names: Iterable[str]) -> tuple[Attack, ...]:
    """The attacks of those names, in order; SpecError if there are none."""
    attacks = tuple(make(name) for name in names)
    if not attacks:
        raise SpecError(f"attacks: the list is empty; name at least one of {', '.join(ATTACKS)}")
    return attacks


def check_budget(eps: object, observation_size: int, norm: str = "linf") -> None:
    """Raise SpecError unless `eps` is a radius for observations of that size.

    Allowed: one finite number >= 0, or for l_inf one per feature.
    """
    if norm not in NORMS:
        raise unknown_name("norm", norm, NORMS)
    radius = np.asarray(eps, dtype=float)
    if not np.all(np.isfinite(radius) & (radius >= 0)):
        raise SpecError(f"eps: {eps} is not a radius; every number must be finite and >= 0")
    if radius.ndim == 0:
        return
    if norm == "l2":
        raise SpecError(f"eps: {radius.size} numbers for an l2 ball, which has one radius; give one number")
    if radius.shape != (observation_size,):
        raise SpecError(
            f"eps: {radius.size} numbers for an observation of {observation_size} features; "
            f"give one number, or {observation_size}"
        )
