"""All attacks, listed once. Whatever names, tries or documents attacks goes by this list."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from jaxprune.attacks.api import Rule
from jaxprune.attacks.critic import Critic
from jaxprune.attacks.fgsm import Fgsm
from jaxprune.attacks.mad import Mad, MadLangevin
from jaxprune.attacks.none import Nothing
from jaxprune.attacks.pa_ad import PaAd
from jaxprune.attacks.random import Gaussian, Uniform
from jaxprune.attacks.sa_rl import SaRl
from jaxprune.attacks.sarsa import Sarsa, SarsaMad
from jaxprune.attacks.sensor import Sensor
from jaxprune.errors import SpecError, unknown_name

NOTHING, CRITICS, TRAINING = "nothing", "critics", "training"
"""What an attack needs before it can be used: nothing, critics of the victim, or a training against it."""

DRIFT = 0.05
"""Units of the attack's space per step by which "sensor-drift" moves a failed reading."""


@dataclass(frozen=True)
class Attack:
    """One attack, as a user asks for it.

    name: in tables and on the command line. about: one line for help texts.
    rule: makes the `Rule`: of nothing; of a critic and, if there are `settings`, one of them; or, where it
        needs training, of nothing the untrained adversary, with `network` None.
    settings: the values that are tried with every critic.
    """

    name: str
    about: str
    rule: Callable[..., Rule]
    needs: str = NOTHING
    settings: tuple[float, ...] = ()


ATTACKS: dict[str, Attack] = {}
"""All attacks by name, in the order in which they are listed."""


def add(*attacks: Attack) -> None:
    """List attacks. Raises SpecError for a name that is listed already, or needs that are not known."""
    for attack in attacks:
        if attack.name in ATTACKS:
            raise SpecError(f"attack: {attack.name!r} is listed already; give it another name")
        if attack.needs not in (NOTHING, CRITICS, TRAINING):
            raise unknown_name("needs", attack.needs, (NOTHING, CRITICS, TRAINING))
        ATTACKS[attack.name] = attack


add(
    Attack("none", "no attack: the clean return", Nothing),
    Attack("random", "a uniform draw from the ball", Uniform),
    Attack("random-gaussian", "Gaussian noise, projected onto the ball", Gaussian),
    Attack("fgsm", "one gradient step to the edge of the ball", Fgsm),
    Attack("mad", "gradient ascent on the action difference", Mad),
    Attack("mad-sgld", "the same with Langevin noise", MadLangevin),
    Attack("critic", "descent on the victim's own value network", Critic),
    Attack("sensor", "sensors that drop out for a while", Sensor),
    Attack(
        "sensor-drift", "sensors that drift for a while", partial(Sensor, drift=DRIFT, name="sensor-drift")
    ),
    Attack("sarsa", "descent on a learned Q of the victim (robust sarsa)", Sarsa, CRITICS),
    # The weights of MAD that are tried with every critic.
    Attack("sarsa+mad", "robust sarsa and MAD together", SarsaMad, CRITICS, settings=(0.25, 0.5, 0.75)),
    Attack("sa-rl", "a learned policy whose action is the perturbation (SA-RL)", SaRl, TRAINING),
    # The actor takes one step, as published: in training, each of its gradients is paid at every step.
    Attack("pa-ad", "a learned direction for the action (PA-AD)", partial(PaAd, steps=1), TRAINING),
)

FORMER_NAMES = {"optimal": "sa-rl", "director": "pa-ad"}
"""What attacks were called by earlier versions, still read from old runs."""


class RenamedWarning(UserWarning):
    """A name of an earlier version was given."""


def current_name(name: str) -> str:
    """The name itself, or what an attack of a former name is called now.

    Warns:
        RenamedWarning: it is a former one.
    """
    if name not in FORMER_NAMES:
        return name
    warnings.warn(f"attack {name!r} is now called {FORMER_NAMES[name]!r}", RenamedWarning, stacklevel=2)
    return FORMER_NAMES[name]


def check_names(names: tuple[str, ...]) -> None:
    """Raise SpecError for a name that is no attack's."""
    for name in names:
        if name not in ATTACKS:
            raise unknown_name("attack", name, ATTACKS)


def make(name: str) -> Rule:
    """The rule of that name with its published settings.

    Raises SpecError if there is none, or if it must be learned first.
    """
    check_names((name,))
    attack = ATTACKS[name]
    if attack.needs != NOTHING:
        raise SpecError(f"attacks: {name!r} must be learned for each victim; ask the attack search for it")
    return attack.rule()


def ready(needs: str = NOTHING) -> tuple[str, ...]:
    """The names of the attacks with these needs."""
    return tuple(name for name, attack in ATTACKS.items() if attack.needs == needs)
