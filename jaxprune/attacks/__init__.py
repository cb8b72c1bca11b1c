"""Attacks on what a policy sees: one file per rule that perturbs one observation."""

from jaxprune.attacks.api import NORMS, SPACES, Attack, Ball, Memory, Victim
from jaxprune.attacks.ascent import Gain, ascend
from jaxprune.attacks.critic import Critic
from jaxprune.attacks.director import Director
from jaxprune.attacks.fgsm import Fgsm
from jaxprune.attacks.learned import Learned
from jaxprune.attacks.mad import Mad, MadLangevin, action_difference
from jaxprune.attacks.none import Nothing
from jaxprune.attacks.random import Gaussian, Uniform
from jaxprune.attacks.request import ATTACKS, check_budget, make, make_all
from jaxprune.attacks.sarsa import Sarsa, SarsaMad
from jaxprune.attacks.sensor import Sensor

__all__ = [
    "ATTACKS",
    "NORMS",
    "SPACES",
    "Attack",
    "Ball",
    "Critic",
    "Director",
    "Fgsm",
    "Gain",
    "Gaussian",
    "Learned",
    "Mad",
    "MadLangevin",
    "Memory",
    "Nothing",
    "Sarsa",
    "SarsaMad",
    "Sensor",
    "Uniform",
    "Victim",
    "action_difference",
    "ascend",
    "check_budget",
    "make",
    "make_all",
]
