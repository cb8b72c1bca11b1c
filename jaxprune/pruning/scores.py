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

WEIGHTS, KEY, BEFORE = "weights", "key", "before"
GRADIENTS, INPUTS, FISHER, CURVATURE = "gradients", "inputs", "fisher", "curvature"
ROBUST, FAITHFUL = "robust", "faithful"

LEARNED = (ROBUST, FAITHFUL)
"""Evidence that is learned for the sparsity that is asked for, which takes hundreds of gradient steps."""

EVIDENCE = (GRADIENTS, INPUTS, FISHER, CURVATURE, *LEARNED)
"""What a score can learn from the whole batch of the latest iteration, at the weights after it."""

NEEDS = (WEIGHTS, KEY, BEFORE, *EVIDENCE)
"""What a score can go by; all but the key have one number per weight.

weights: the policy's kernels, without the mask. key: the same in a whole run, so that a draw keeps its order.
before: what the score was after the iteration before; zeros at the initialisation. gradients: d loss /
d (masked kernel) of PPO's loss; removed weights have one too. inputs: the root mean square of what goes
through the weight, under the mask. fisher: the mean of (d log pi(a|s) / d (masked kernel))^2 over the states,
and over the actions of the policy. curvature: H g, the Hessian of that loss by the masked kernels times its
gradient. robust, faithful: what HYDRA learns from the states of the batch, so that the policy of the largest
of them does as it does without a mask, with or without regard to attacks; zeros in iterations that remove
nothing. At the initialisation evidence is of a batch of the untrained agent where a mask is needed then, else
ones.
"""

Evidence = Mapping[str, Kernels]
"""What of `EVIDENCE` a score needs, by name."""


@dataclass(frozen=True)
class Score:
    """A pruning score.

    name: in tables and on the command line. about: one line for help texts.
    rule: of what it `needs`, in that order, to one number per weight.
    signed: it can be negative, and less is worse; so it cannot be the size of anything.
    """

    name: str
    about: str
    rule: Callable[..., Kernels]
    needs: tuple[str, ...] = (WEIGHTS,)
    signed: bool = False

    @property
    def evidence(self) -> tuple[str, ...]:
        """What it can only be told with a batch."""
        return tuple(need for need in self.needs if need in EVIDENCE)

    @property
    def learned(self) -> bool:
        """Whether it is learned for one sparsity."""
        return any(need in LEARNED for need in self.needs)

    @property
    def remembers(self) -> bool:
        """Whether it builds on what it was."""
        return BEFORE in self.needs

    def of(self, weights: Kernels, key: PRNGKeyArray, evidence: Evidence | None = None) -> Kernels:
        """The scores of these weights. evidence: of a batch, or None before there is one."""
        unknown = dict.fromkeys(self.evidence, jax.tree.map(jnp.ones_like, weights))
        seen = unknown if evidence is None else evidence
        first = {BEFORE: jax.tree.map(jnp.zeros_like, weights)} if self.remembers else {}
        known = {WEIGHTS: weights, KEY: key, **first, **seen}
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


def movement(before: Kernels, weights: Kernels, gradients: Kernels) -> Kernels:
    """`S - w dL/dw`: how far the weight has moved away from 0, rather than towards it, in the run so far.

    What the scores of a straight-through mask learn (Sanh et al., NeurIPS 2020); their constant step size, 1
    here, changes no order.
    """
    return jax.tree.map(lambda s, w, g: s - w * g, before, weights, gradients)


def gradient_flow(weights: Kernels, curvature: Kernels) -> Kernels:
    """`w (H g)`: those go first whose removal leaves the gradient largest (GraSP; Wang et al., ICLR 2020).

    To first order `|g|^2 / 2` changes by `-w (H g)` when the weight w is removed.
    """
    return jax.tree.map(jnp.multiply, weights, curvature)


add(
    Score("magnitude", "the smallest weights go first", magnitude),
    Score("random", "a fixed random order", uniform, needs=(WEIGHTS, KEY)),
    Score("saliency", "weight times gradient of PPO's loss", saliency, needs=(WEIGHTS, GRADIENTS)),
    Score("fisher", "second-order change of the policy", damage, needs=(WEIGHTS, FISHER)),
    Score("wanda", "weight times size of its input; meant for scope neuron", wanda, needs=(WEIGHTS, INPUTS)),
    Score(
        "movement",
        "minus weight times gradient, summed over the iterations",
        movement,
        needs=(BEFORE, WEIGHTS, GRADIENTS),
        signed=True,
    ),
    Score(
        "grasp", "what keeps the gradient large stays", gradient_flow, needs=(WEIGHTS, CURVATURE), signed=True
    ),
    Score("hydra", "learned: what keeps the policy as it is and hard to move", magnitude, needs=(ROBUST,)),
    Score("hydra-clean", "learned: what keeps the policy as it is", magnitude, needs=(FAITHFUL,)),
)


def score(name: str) -> Score:
    """The score of that name. Raises SpecError for an unknown one."""
    if name not in SCORES:
        raise unknown_name("score", name, SCORES)
    return SCORES[name]
