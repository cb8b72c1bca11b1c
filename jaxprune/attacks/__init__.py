"""Attacks on what a policy sees: one file per rule that perturbs one observation, listed in `catalogue`."""

from jaxprune.attacks.api import Memory, Memoryless, Rule, Victim
from jaxprune.attacks.ascent import Gain, ascend
from jaxprune.attacks.catalogue import (
    ATTACKS,
    CRITICS,
    NOTHING,
    TRAINING,
    Attack,
    RenamedWarning,
    add,
    check_names,
    current_name,
    make,
    ready,
)
from jaxprune.attacks.critic import Critic
from jaxprune.attacks.fgsm import Fgsm
from jaxprune.attacks.mad import Mad, MadLangevin, action_difference
from jaxprune.attacks.none import Nothing
from jaxprune.attacks.pa_ad import PaAd
from jaxprune.attacks.random import Gaussian, Uniform
from jaxprune.attacks.sa_rl import SaRl
from jaxprune.attacks.sarsa import Sarsa, SarsaMad
from jaxprune.attacks.sensor import Sensor

__all__ = [
    "ATTACKS",
    "CRITICS",
    "NOTHING",
    "TRAINING",
    "Attack",
    "Critic",
    "Fgsm",
    "Gain",
    "Gaussian",
    "Mad",
    "MadLangevin",
    "Memory",
    "Memoryless",
    "Nothing",
    "PaAd",
    "RenamedWarning",
    "Rule",
    "SaRl",
    "Sarsa",
    "SarsaMad",
    "Sensor",
    "Uniform",
    "Victim",
    "action_difference",
    "add",
    "ascend",
    "check_names",
    "current_name",
    "make",
    "ready",
]
