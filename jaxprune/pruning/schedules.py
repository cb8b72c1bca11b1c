"""When weights go: the sparsity asked for at each point of training, and the mask that has it.

`progress` is the share of training done, in [0, 1]: one number for the whole population.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.errors import unknown_name
from jaxprune.policy import Kernels
from jaxprune.pruning.masks import lowest_removed, zeros

Scalar = Float[Array, ""] | float

BEGIN, END = 0.2, 0.8
"""Gradual pruning runs between these shares of training; one-shot pruning happens at BEGIN."""


@dataclass(frozen=True)
class Schedule:
    """A pruning schedule.

    sparsity: (target, progress) -> sparsity asked for at that point of training.
    for_good: a removed weight never returns (its mask entry stays 0).
    settles: once this share of training is done and the target is reached, the mask never changes again; None
        where the rule itself needs no such end.
    dense_until: before this share of training nothing is removed, whatever the target.
    during_training: False where the finished dense policy is pruned once.
    """

    name: str
    about: str
    sparsity: Callable[[Scalar, Scalar], Scalar]
    for_good: bool = True
    settles: float | None = None
    dense_until: float = 0.0
    during_training: bool = True

    def mask(
        self, mask: Kernels, scores: Kernels, target: Scalar, progress: Scalar, scope: str = "layer"
    ) -> Kernels:
        """The next mask. Where removal is for good, what is gone ranks below everything that lives."""
        if self.for_good:
            scores = jax.tree.map(lambda m, s: jnp.where(m == 0, -jnp.inf, s), mask, scores)
        following = lowest_removed(scores, self.sparsity(target, progress), scope)
        if self.settles is None:
            return following
        # As many zeros as the target asks for: they were chosen at an earlier step, and stay.
        settled = (progress >= self.settles) & (zeros(mask) == zeros(following))
        return jax.tree.map(lambda old, new: jnp.where(settled, old, new), mask, following)


def _at_once(target: Scalar, progress: Scalar) -> Scalar:
    return jnp.where(progress >= BEGIN, target, 0.0)


def _cubic(target: Scalar, progress: Scalar) -> Scalar:
    p = jnp.clip((progress - BEGIN) / (END - BEGIN), 0.0, 1.0)
    return target * (1.0 - (1.0 - p) ** 3)


def _equal_shares_of_the_rest(target: Scalar, progress: Scalar) -> Scalar:
    p = jnp.clip(progress / END, 0.0, 1.0)
    return jnp.where(p >= 1.0, target, 1.0 - (1.0 - target) ** p)


SCHEDULES = {
    schedule.name: schedule
    for schedule in (
        Schedule(
            "posthoc",
            "prune the finished dense policy, without retraining",
            lambda target, progress: jnp.where(progress >= 1.0, target, 0.0),
            during_training=False,
        ),
        Schedule("oneshot", f"all at once after {BEGIN:.0%} of training", _at_once, dense_until=BEGIN),
        Schedule(
            "gradual",
            f"cubic from {BEGIN:.0%} to {END:.0%} of training, weights may return until then (Zhu & Gupta)",
            _cubic,
            for_good=False,
            settles=END,
            dense_until=BEGIN,
        ),
        Schedule(
            "micro",
            f"an equal share of the remaining weights after every iteration, done at {END:.0%}",
            _equal_shares_of_the_rest,
        ),
        Schedule("static", "a random mask from the start", lambda target, progress: jnp.asarray(target)),
    )
}


def schedule(name: str) -> Schedule:
    """The schedule of that name. Raises SpecError for an unknown one."""
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    return SCHEDULES[name]
