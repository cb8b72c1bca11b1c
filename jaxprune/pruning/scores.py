"""All scores, listed once: what decides which weights go first. Whatever names scores goes by this list.

A score is one number per weight; the lowest are removed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxprune.errors import SpecError, unknown_name
from jaxprune.policy import Kernels

WEIGHTS, KEY = "weights", "key"
GRADIENTS, INPUTS, FISHER = "gradients", "inputs", "fisher"

EVIDENCE = (GRADIENTS, INPUTS, FISHER)
"""What a score can learn from the whole batch of the latest iteration, at the weights after it."""

NEEDS = (WEIGHTS, KEY, *EVIDENCE)
"""What a score can go by; all but the key have one number per weight.

weights: the policy's kernels, without the mask. key: the same in a whole run, so that a draw keeps its order.
gradients: d loss / d (masked kernel) of PPO's loss; removed weights have one too. inputs: the root mean
square of what goes through the weight, under the mask. fisher: the mean of (d log pi(a|s) / d (masked
kernel))^2 over the states, and over the actions of the policy. Before the first batch, at the initialisation,
all evidence is ones.
"""

Evidence = Mapping[str, Kernels]
"""What of `EVIDENCE` a score needs, by name."""


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
    def evidence(self) -> tuple[str, ...]:
        """What it can only be told with a batch."""
        return tuple(need for need in self.needs if need in EVIDENCE)

    def of(self, weights: Kernels, key: PRNGKeyArray, evidence: Evidence | None = None) -> Kernels:
        """The scores of these weights. evidence: of a batch, or None before there is one."""
        unknown = dict.fromkeys(self.evidence, jax.tree.map(jnp.ones_like, weights))
        seen = unknown if evidence is None else evidence
        known = {WEIGHTS: weights, KEY: key, **seen}
        return self.rule(*(known[need] for need in self.needs))


SCORES: dict[str, Score] = {}
"""All scores by name, in the order in which they are listed."""


def add(*scores: Score) -> None:
    """List scores. Raises SpecError for a name that is listed already, or needs that are not known."""
    for score in scores:
        if score.name in SCORES:
            raise SpecError(f"score: {score.name!r} is listed already; give it another name")
        for need in score.needs:
            if need not in NEEDS:
                raise unknown_name("needs", need, NEEDS)
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


def saliency(weights: Kernels, gradients: Kernels) -> Kernels:
    """`|w dL/dw|`: by how much the loss changes without the weight, to first order (SNIP's criterion)."""
    return jax.tree.map(lambda w, g: jnp.abs(w * g), weights, gradients)


def wanda(weights: Kernels, inputs: Kernels) -> Kernels:
    """`|w| rms(x)`: the size of what the weight adds to its neuron (Sun et al., ICLR 2024)."""
    return jax.tree.map(lambda w, x: jnp.abs(w) * x, weights, inputs)


def damage(weights: Kernels, fisher: Kernels) -> Kernels:
    """`E[g^2] w^2 / 2`: the KL divergence that removing the weight causes, to second order.

    The diagonal of optimal brain damage (LeCun et al., 1989), its Hessian being the Fisher information.
    """
    return jax.tree.map(lambda w, f: f * w**2 / 2, weights, fisher)


add(
    Score("magnitude", "the smallest weights go first", magnitude),
    Score("random", "a fixed random order", uniform, needs=(WEIGHTS, KEY)),
    Score("saliency", "weight times gradient of PPO's loss", saliency, needs=(WEIGHTS, GRADIENTS)),
    Score("fisher", "second-order change of the policy", damage, needs=(WEIGHTS, FISHER)),
    Score("wanda", "weight times size of its input; meant for scope neuron", wanda, needs=(WEIGHTS, INPUTS)),
)


def score(name: str) -> Score:
    """The score of that name. Raises SpecError for an unknown one."""
    if name not in SCORES:
        raise unknown_name("score", name, SCORES)
    return SCORES[name]
