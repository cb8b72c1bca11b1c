"""All scores, listed once: what decides which weights go first. Whatever names scores goes by this list.

A score is one number per weight; the lowest are removed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxprune.errors import SpecError, unknown_name
from jaxprune.policy import Kernels

WEIGHTS, KEY, GRADIENTS = "weights", "key", "gradients"
"""What a score can go by.

weights: the policy's kernels, without the mask. key: the same in a whole run, so that a draw keeps its order.
gradients: d loss / d (masked kernel) of PPO's loss over the whole batch of the latest iteration, at the
weights after it; removed weights have one too. Before the first batch, at the initialisation, they are ones.
"""


@dataclass(frozen=True)
class Score:
    """A pruning score.

    name: in tables and on the command line. about: one line for help texts.
    rule: of what it `needs`, in that order, to one number per weight.
    """

    name: str
    about: str
    rule: Callable[..., Kernels]
    needs: tuple[str, ...] = (WEIGHTS,)

    @property
    def needs_gradients(self) -> bool:
        """Whether it can only be told with the gradients of a batch."""
        return GRADIENTS in self.needs

    def of(self, weights: Kernels, key: PRNGKeyArray, gradients: Kernels | None = None) -> Kernels:
        """The scores of these weights. gradients: those of a batch, or None before there is one."""
        if gradients is None and self.needs_gradients:
            gradients = jax.tree.map(jnp.ones_like, weights)
        known = {WEIGHTS: weights, KEY: key, GRADIENTS: gradients}
        return self.rule(*(known[need] for need in self.needs))


SCORES: dict[str, Score] = {}
"""All scores by name, in the order in which they are listed."""


def add(*scores: Score) -> None:
    """List scores. Raises SpecError for a name that is listed already, or needs that are not known."""
    for score in scores:
        if score.name in SCORES:
            raise SpecError(f"score: {score.name!r} is listed already; give it another name")
        for need in score.needs:
            if need not in (WEIGHTS, KEY, GRADIENTS):
                raise unknown_name("needs", need, (WEIGHTS, KEY, GRADIENTS))
        SCORES[score.name] = score


def magnitude(weights: Kernels) -> Kernels:
    """`|w|`."""
    return jax.tree.map(jnp.abs, weights)


def uniform(weights: Kernels, key: PRNGKeyArray) -> Kernels:
    """A uniform draw per weight; the same key gives the same order."""
    keys = jax.random.split(key, len(weights))
    return {
        layer: jax.random.uniform(k, w.shape) for k, (layer, w) in zip(keys, weights.items(), strict=True)
    }


add(
    Score("magnitude", "the smallest weights go first", magnitude),
    Score("random", "a fixed random order", uniform, needs=(WEIGHTS, KEY)),
)


def score(name: str) -> Score:
    """The score of that name. Raises SpecError for an unknown one."""
    if name not in SCORES:
        raise unknown_name("score", name, SCORES)
    return SCORES[name]
