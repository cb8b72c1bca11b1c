"""When weights go: the sparsity asked for at each point of training, and the mask that has it.

`progress` is the share of training done, in [0, 1]: one number for the whole population.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxprune.errors import unknown_name
from jaxprune.policy import Kernels
from jaxprune.pruning.masks import exchanged, lowest_removed, zeros
from jaxprune.pruning.scores import GRADIENTS, SCORES, Score, magnitude

Scalar = Float[Array, ""] | float

BEGIN, END = 0.2, 0.8
"""Gradual pruning runs between these shares of training; one-shot pruning happens at BEGIN. Weights are
exchanged until END."""

ROUNDS, REWIND = 5, 0.05
"""A lottery trains in so many rounds of equal length; each but the first begins with the weights that there
were at this share of training."""

EXCHANGED = 0.3
"""The share of the living weights that is exchanged at first."""


@dataclass(frozen=True)
class Schedule:
    """A pruning schedule.

    sparsity: (target, progress) -> sparsity asked for at that point of training.
    for_good: a removed weight never returns (its mask entry stays 0).
    settles: once this share of training is done and the target is reached, the mask never changes again; None
        where the rule itself needs no such end.
    dense_until: before this share of training nothing is removed, whatever the target.
    during_training: False where the finished dense policy is pruned once.
    grows: where weights are exchanged, the score of those that come, the highest first. The score of the run
        is then only that of the first mask.
    in_steps: it asks for more at a few points only.
    rewinds: the training is one of `ROUNDS`. fresh: the last of them begins with weights that are drawn anew.
    """

    name: str
    about: str
    sparsity: Callable[[Scalar, Scalar], Scalar]
    for_good: bool = True
    settles: float | None = None
    dense_until: float = 0.0
    during_training: bool = True
    grows: Score | None = None
    in_steps: bool = False
    rewinds: bool = False
    fresh: bool = False

    @property
    def plain(self) -> bool:
        """Whether it only ever removes weights, or lets them return, during the training."""
        return self.during_training and self.grows is None and not self.rewinds

    @property
    def from_the_start(self) -> bool:
        """Whether there is a mask before the first step."""
        return self.sparsity is _from_the_start

    @property
    def stays(self) -> bool:
        """Whether the mask of the start is that of the end."""
        return self.from_the_start and self.grows is None

    def asks_for_more(self, before: Scalar, after: Scalar) -> Bool[Array, ""]:
        """Whether the sparsity asked for has risen between two points of training, whatever the target."""
        return jnp.asarray(self.sparsity(0.5, after)) > self.sparsity(0.5, before)

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

    def exchange(
        self, mask: Kernels, weights: Kernels, wanted: Kernels, progress: Scalar, scope: str = "layer"
    ) -> Kernels:
        """The mask after the smallest weights have gone and as many of the most wanted have come.

        Of those alive, the share `EXCHANGED / 2 (1 + cos(pi progress / END))` goes (Evci et al., ICML 2020),
        which is none from END on.
        """
        phase = jnp.clip(progress / END, 0.0, 1.0)
        share = EXCHANGED / 2 * (1.0 + jnp.cos(jnp.pi * phase))
        return exchanged(mask, magnitude(weights), wanted, share, scope)


def _from_the_start(target: Scalar, progress: Scalar) -> Scalar:
    return jnp.asarray(target)


def _at_once(target: Scalar, progress: Scalar) -> Scalar:
    return jnp.where(progress >= BEGIN, target, 0.0)


def _cubic(target: Scalar, progress: Scalar) -> Scalar:
    p = jnp.clip((progress - BEGIN) / (END - BEGIN), 0.0, 1.0)
    return target * (1.0 - (1.0 - p) ** 3)


def _equal_shares_of_the_rest(target: Scalar, progress: Scalar) -> Scalar:
    p = jnp.clip(progress / END, 0.0, 1.0)
    return jnp.where(p >= 1.0, target, 1.0 - (1.0 - target) ** p)


def round_of(progress: Scalar) -> Float[Array, ""]:
    """The number of the round that begins at or holds this point of training, from 0."""
    # A quotient may be rounded to just below a whole number.
    return jnp.clip(jnp.floor(progress * ROUNDS + 1e-4), 0, ROUNDS - 1)


def _after_every_round(target: Scalar, progress: Scalar) -> Scalar:
    share = round_of(progress) / (ROUNDS - 1)
    return jnp.where(share >= 1.0, target, 1.0 - (1.0 - target) ** share)


SCHEDULES = {
    schedule.name: schedule
    for schedule in (
        Schedule(
            "posthoc",
            "prune the finished dense policy, without retraining",
            lambda target, progress: jnp.where(progress >= 1.0, target, 0.0),
            during_training=False,
            in_steps=True,
        ),
        Schedule(
            "oneshot",
            f"all at once after {BEGIN:.0%} of training",
            _at_once,
            dense_until=BEGIN,
            in_steps=True,
        ),
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
        Schedule("static", "a mask from the start, random unless a score is given", _from_the_start),
        Schedule(
            "set",
            f"a mask from the start; until {END:.0%} of training small weights go and others come, at random",
            _from_the_start,
            for_good=False,
            grows=SCORES["random"],
        ),
        Schedule(
            "rigl",
            "as set, but those come whose gradients are largest",
            _from_the_start,
            for_good=False,
            grows=Score("gradient", "size of the gradient of PPO's loss", magnitude, needs=(GRADIENTS,)),
        ),
        Schedule(
            "lottery",
            f"{ROUNDS} rounds; each ends with an equal share of the remaining weights removed and the others "
            f"rewound to {REWIND:.0%} of training",
            _after_every_round,
            dense_until=1 / ROUNDS,
            in_steps=True,
            rewinds=True,
        ),
        Schedule(
            "lottery-fresh",
            "its control: the same masks, but the last round begins with weights that are drawn anew",
            _after_every_round,
            dense_until=1 / ROUNDS,
            in_steps=True,
            rewinds=True,
            fresh=True,
        ),
    )
}


def schedule(name: str) -> Schedule:
    """The schedule of that name. Raises SpecError for an unknown one."""
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    return SCHEDULES[name]
