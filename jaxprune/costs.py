"""What the parts of a sweep cost: processor seconds and bytes, from its sizes.

A part is a number of amounts (environment steps, multiplications in networks, ...), and each amount costs its
coefficient. `benchmarks.scaling` fits these to measurements of the machine named in its results; the seconds
of another are these times `speeds.slowness()`. What the physics of a task costs is `speeds.physics_seconds`.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

Amounts = dict[str, float | int]

CORES = {"network": 1.5, "compiling": 1.85}
"""How many cores are busy, where there are so many and nobody else needs them. Physics has all of them."""

LIVING = 0.6
"""Share of the horizon that an episode of a trained policy lasts, of tasks that can end before."""

# Of arm_cost.md in benchmarks/results: (time over plain PPO's - 1) x 0.40 s of an iteration / 0.121 s of
# networks in it, as predicted on the same machine.
OVER_PPO = {
    "sa-sgld": 3.3,
    "sa-convex": 8.5,
    "radial": 1.6,
    "wocar": 3.4,
    "atla": 3.3,
    "noise": 0.0,
    "usr": 0.0,
    "usr-published": 0.0,
    "randomised": 0.2,
    "kl": 0.4,
    "d2": 18.6,
    "d2-sampled": 1.7,
}
"""What a regulariser adds, in multiples of what the networks of plain PPO cost."""

UNMEASURED = 4.0
"""The same of one that is not among them."""

GRADIENTS = {"none": 0, "random": 0, "random-gaussian": 0, "sensor": 0, "sensor-drift": 0, "fgsm": 1}
"""Gradients that an attack takes at a step, where they are not `ASCENT`."""

ASCENT = 10


class Sizes(NamedTuple):
    """Of the networks of a member: observation, hidden layers, action; the value network ends in one."""

    observation: int
    hidden: tuple[int, ...]
    action: int

    @property
    def policy(self) -> int:
        """Multiplications of the policy network."""
        return _products((self.observation, *self.hidden, self.action))

    @property
    def both(self) -> int:
        """Multiplications of policy and value network: nearly as many as there are parameters."""
        return self.policy + _products((self.observation, *self.hidden, 1))

    @property
    def bounded(self) -> int:
        """Multiplications of bounding every layer of the policy by one pass back to the input."""
        widths = (self.observation, *self.hidden, self.action)
        return sum(width * _products(widths[: depth + 1]) for depth, width in enumerate(widths) if depth)

    @property
    def slopes(self) -> int:
        """Multiplications of the slopes of the policy: of all its layers to every feature."""
        return self.observation * _products((*self.hidden, self.action))


class Recipe(NamedTuple):
    """An iteration of a member: environments x unroll steps, used `epochs` times in so many minibatches."""

    environments: int
    unroll: int
    epochs: int
    minibatches: int


def training(members: int, recipe: Recipe, sizes: Sizes, over_ppo: float = 0.0) -> Amounts:
    """One iteration of so many members, the physics left out."""
    steps = members * recipe.environments * recipe.unroll
    updates = members * recipe.epochs * recipe.minibatches
    learned = recipe.epochs * steps
    of_networks = {
        "acting": steps,
        "learning": learned,
        "updating": updates,
        "parameter": updates * sizes.both,
        # forwards while acting; forwards and backwards, twice as long, while learning
        "product": (steps + 3 * learned) * sizes.both,
    }
    return {"looping": recipe.unroll} | {name: (1 + over_ppo) * n for name, n in of_networks.items()}


def playing(steps: int, sizes: Sizes, attack: str) -> Amounts:
    """Steps of evaluation under an attack, the physics left out."""
    gradients = GRADIENTS.get(attack, ASCENT)
    return {
        "playing": steps,
        "gradient": steps * gradients,
        "attacking product": steps * sizes.policy * (1 + 3 * gradients),
    }


def certifying(members: int, states: int, sizes: Sizes) -> Amounts:
    """All bounds on so many members at so many states of each."""
    return {
        "certified member": members,
        "bounding product": members * states * sizes.bounded,
        "slope product": members * states * sizes.slopes,
    }


def returning(states: int, sizes: Sizes) -> Amounts:
    """The bounds behind certified returns, at so many states of all members and radii."""
    return {"shifted state": states, "shifting product": states * sizes.bounded}


def over_ppo(regularizers: tuple[str, ...]) -> float:
    """What the regularisers of an arm add, in multiples of what the networks of plain PPO cost."""
    return sum((OVER_PPO.get(name, UNMEASURED) for name in regularizers), 0.0)


def remembering(recipe: Recipe, sizes: Sizes) -> Amounts:
    """What an iteration of a member needs beside what it carries."""
    steps = recipe.environments * recipe.unroll
    return {
        "seen": steps * (2 * sizes.observation + sizes.action),
        "remembered": steps,
        "copied": sizes.both,
        "activation": steps * sum(sizes.hidden),
    }


def added(*parts: Amounts) -> Amounts:
    """The amounts of all parts together."""
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def cost(amounts: Amounts, of_one: Mapping[str, float]) -> float:
    """The sum of all amounts, each times what one of it costs."""
    return sum((of_one[name] * amount for name, amount in amounts.items()), 0.0)


def _products(widths: tuple[int, ...]) -> int:
    return sum(a * b for a, b in pairwise(widths))
