"""Successive halving: most settings of an attacker search are given up before they have cost much.

After Jamieson and Talwalkar (AISTATS 2016, arXiv 1502.07943): all adversaries start, and at every rung the
weaker half of those of each victim stops. The others go on from where they were, as if nobody had been
stopped: their annealing is that of the full length. What decides is handed in, since this room plays no
episodes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxprune.training.adversary import Adversary
from jaxprune.training.member import Learner
from jaxprune.training.ppo import Trainable
from jaxprune.training.search import Search, networks

TELLING = 8
"""Iterations of PPO before which the order of adversaries says little of their order at the end: a rank
correlation of .32 at most, over four Hopper victims and 32 iterations (benchmarks/results/halving.md)."""

Judge = Callable[[int, Int[np.ndarray, "victim adversary"], Adversary], Float[np.ndarray, "victim adversary"]]
"""(rung, setting of each adversary, adversaries that got there) -> the return each leaves its victim."""


class Survivors(NamedTuple):
    """The adversaries that were trained to the end, leaves [victim, adversary], and their settings."""

    networks: Trainable
    setting: Int[np.ndarray, "victim adversary"]


def rung_ends(iterations: int, rungs: int) -> tuple[int, ...]:
    """The iterations done at the end of each rung: every rung is twice as far, the last is at the end.

    >>> rung_ends(100, 4)
    (12, 25, 50, 100)
    """
    return tuple(iterations >> doublings for doublings in reversed(range(rungs)))


def rung_sizes(settings: int, rungs: int) -> tuple[int, ...]:
    """How many adversaries of a victim are trained in each rung: half as many as before, and at least one.

    >>> rung_sizes(12, 5)
    (12, 6, 3, 1, 1)
    """
    return tuple(max(1, settings >> rung) for rung in range(rungs))


def halved(search: Search, rungs: int, judge: Judge) -> Survivors:
    """Train the adversaries of a search, the weaker half of each victim's stopping at every rung.

    Every victim keeps equally many, so one program trains the adversaries of all of them. One rung stops
    nobody. Every rung is kept in the folder of the search, with all that it needs to go on from there.
    """
    *early, last = rung_ends(search.iterations, rungs)
    setting, done, learners = search.every_setting, 0, None
    for rung, until in enumerate(early, 1):
        learners = search.advance(setting, until, _all_of_it, f"rung-{rung}", done, learners)
        adversaries = search.adversary.replace(network=learners.agent.policy)
        kept = stronger_half(judge(rung, setting, adversaries))
        setting = np.take_along_axis(setting, kept, axis=1)
        rows = np.arange(len(kept))[:, None]
        learners = jax.tree.map(lambda leaf, rows=rows, kept=kept: leaf[rows, kept], learners)
        done = until
    return Survivors(search.advance(setting, last, networks, f"rung-{rungs}", done, learners), setting)


def stronger_half(returns: Float[np.ndarray, "victim adversary"]) -> Int[np.ndarray, "victim half"]:
    """The places of those that leave each victim least, at least one, in the order they have."""
    kept = max(1, returns.shape[1] // 2)
    return np.sort(np.argsort(returns, axis=1, kind="stable")[:, :kept], axis=1)


def _all_of_it(learner: Learner) -> Learner:
    """What a rung keeps of those that may go on."""
    return learner
