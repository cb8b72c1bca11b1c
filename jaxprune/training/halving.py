"""Successive halving: most settings of an attacker search are given up before they have cost much.

After Jamieson and Talwalkar (AISTATS 2016, arXiv 1502.07943): all adversaries start, and at every rung the
weaker half of those of each victim stops. The others go on from where they were, as if nobody had been
stopped: their annealing is that of the full length. What decides is handed in, since this room plays no
episodes. Adversaries can grow weaker while they are trained (PA-AD does on Hopper,
benchmarks/results/deciding.md), so the strongest of every rung is kept as it was there.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

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

Tree = TypeVar("Tree")

Judge = Callable[[int, Int[np.ndarray, "victim adversary"], Adversary], Float[np.ndarray, "victim adversary"]]
"""(rung, setting of each adversary, adversaries that got there) -> the return each leaves its victim."""


class Found(NamedTuple):
    """What a search has to choose from, leaves [victim, adversary].

    Those that were trained to the end, and after them the strongest of every earlier rung as it was there.
    setting: of each. iterations: of PPO that each had behind it, [adversary].
    """

    networks: Trainable
    setting: Int[np.ndarray, "victim adversary"]
    iterations: Int[np.ndarray, " adversary"]


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


def halved(search: Search, rungs: int, judge: Judge) -> Found:
    """Train the adversaries of a search, the weaker half of each victim's stopping at every rung.

    Every victim keeps equally many, so one program trains the adversaries of all of them. One rung stops
    nobody. Every rung is kept in the folder of the search, with all that it needs to go on from there.
    """
    *early, last = rung_ends(search.iterations, rungs)
    setting, done, learners, strongest = search.every_setting, 0, None, []
    for rung, until in enumerate(early, 1):
        learners = search.advance(setting, until, _all_of_it, f"rung-{rung}", done, learners)
        adversaries = search.adversary.replace(network=learners.agent.policy)
        returns = judge(rung, setting, adversaries)
        strongest.append(_those(places_of_strongest(returns, 1), networks(learners), setting))
        learners, setting = _those(stronger_half(returns), learners, setting)
        done = until
    to_the_end = search.advance(setting, last, networks, f"rung-{rungs}", done, learners)
    iterations = np.array([last] * setting.shape[1] + early)
    both = jax.tree.map(lambda *leaves: np.concatenate(leaves, 1), (to_the_end, setting), *strongest)
    return Found(networks=both[0], setting=both[1], iterations=iterations)


def _those(
    places: Int[np.ndarray, "victim some"], adversaries: Tree, setting: Int[np.ndarray, "victim adversary"]
) -> tuple[Tree, Int[np.ndarray, "victim some"]]:
    """The adversaries in these places, leaves [victim, adversary], and their settings."""
    rows = np.arange(len(places))[:, None]
    return jax.tree.map(lambda leaf: leaf[rows, places], (adversaries, setting))


def stronger_half(returns: Float[np.ndarray, "victim adversary"]) -> Int[np.ndarray, "victim half"]:
    """The places of those that leave each victim least, at least one, in the order they have."""
    return places_of_strongest(returns, max(1, returns.shape[1] // 2))


def places_of_strongest(
    returns: Float[np.ndarray, "victim adversary"], count: int
) -> Int[np.ndarray, "victim strongest"]:
    """The places of so many that leave each victim least, in the order they have; NaN is weakest."""
    return np.sort(np.argsort(returns, axis=1, kind="stable")[:, :count], axis=1)


def _all_of_it(learner: Learner) -> Learner:
    """What a rung keeps of those that may go on."""
    return learner
