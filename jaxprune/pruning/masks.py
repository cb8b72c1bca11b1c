"""Masks over the kernels of one policy network: exact counts, wherever they are counted.

A mask tree mirrors the kernels: `{"layer_0": [in, out], ...}`, 1 where a weight lives, 0 where it is zero.
Biases, log-std and the observation filter are never pruned. The sparsity is traced: one compilation
serves every level.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxprune.policy import Agent, Kernels, Params, kernels

SCOPES = ("layer", "neuron", "global", "erk", "unit")
"""What the sparsity is the share of: each layer, the inputs of each neuron, all layers together, by the
scores alone or in Erdos-Renyi shares, or the hidden units, which go as a whole."""


def dense(params: Params) -> Kernels:
    """The mask that removes nothing."""
    return jax.tree.map(jnp.ones_like, kernels(params))


def of(agent: Agent) -> Kernels:
    """The mask of an agent; where it has none, the one that removes nothing."""
    return dense(agent.policy) if agent.mask is None else agent.mask


def lowest_removed(scores: Kernels, sparsity: Float[Array, ""] | float, scope: str = "layer") -> Kernels:
    """The mask that removes exactly `round(sparsity * n)` weights, those of the lowest scores.

    Ties are broken by index. `n` counts one kernel at a time (scope "layer"), the inputs of one neuron at a
    time ("neuron"), or all kernels together ("global"; "erk", which removes from each what `erdos_renyi`
    says). "unit" is about whole units, see `units_removed`.
    """
    if scope == "unit":
        return units_removed(scores, sparsity)
    if scope == "global":
        sizes = [score.size for score in scores.values()]
        flat = _without(
            jnp.concatenate([score.ravel() for score in scores.values()]), _count(sparsity, sum(sizes))
        )
        parts = jnp.split(flat, [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)])
        return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}
    if scope == "neuron":
        of_neurons = jax.vmap(_without, in_axes=(1, None), out_axes=1)
        return {name: of_neurons(score, _count(sparsity, len(score))) for name, score in scores.items()}
    counts = (
        erdos_renyi(scores, sparsity)
        if scope == "erk"
        else {name: _count(sparsity, score.size) for name, score in scores.items()}
    )
    return {
        name: _without(score.ravel(), counts[name]).reshape(score.shape) for name, score in scores.items()
    }


def erdos_renyi(shapes: Kernels, sparsity: Float[Array, ""] | float) -> dict[str, Float[Array, ""]]:
    """How many weights each kernel loses so that all lose `round(sparsity * n)`, thin layers the least.

    A kernel [in, out] keeps the share `c (in + out) / (in * out)` of its weights, at most all, and c is what
    makes the sum right (Evci et al., Rigging the Lottery, ICML 2020). Rounded so that no layer gains a weight
    when the sparsity rises (Webster's method): weight number j of a layer is kept once `c (in + out)`
    reaches `j - 1/2`, and the weights are kept in the order of the c that they need.
    """
    needed = [(np.arange(kernel.size) + 0.5) / sum(kernel.shape) for kernel in shapes.values()]
    place = np.argsort(np.argsort(np.concatenate(needed), kind="stable"), kind="stable")
    kept = place.size - _count(sparsity, place.size)
    ends = np.cumsum([kernel.size for kernel in shapes.values()])
    parts = zip(shapes, np.split(place, ends[:-1]), strict=True)
    return {name: jnp.sum(part >= kept).astype(jnp.float32) for name, part in parts}


def units_removed(scores: Kernels, sparsity: Float[Array, ""] | float) -> Kernels:
    """The mask without `round(sparsity * width)` units of every hidden layer, nor a weight to or from them.

    Those go for which the norm of the scores of the weights that lead to them, times that of those that lead
    from them, is smallest. (`policy.compact` then makes the network smaller.)
    """
    ordered = [scores[f"layer_{index}"] for index in range(len(scores))]
    kept = [jnp.ones(len(ordered[0]))]
    for into, out in pairwise(ordered):
        # What is gone for good has scores of minus infinity: such a unit goes first, and counts for no other.
        gone = jnp.all(into == -jnp.inf, axis=0)
        into, out = (jnp.where(score == -jnp.inf, 0.0, score) for score in (into, out))
        size = jnp.linalg.norm(into, axis=0) * jnp.linalg.norm(out, axis=1)
        kept.append(_without(jnp.where(gone, -jnp.inf, size), _count(sparsity, size.size)))
    kept.append(jnp.ones(ordered[-1].shape[1]))
    return {f"layer_{i}": jnp.outer(before, after) for i, (before, after) in enumerate(pairwise(kept))}


def exchanged(
    mask: Kernels, sizes: Kernels, wanted: Kernels, share: Float[Array, ""] | float, scope: str = "layer"
) -> Kernels:
    """The mask after `round(share * alive)` weights have gone from every layer, and as many have come.

    The smallest of the living go. Of the others, to which what has just gone belongs, the most wanted come:
    so as many can come as have gone, and every count stays what it was. With scope "neuron" weights are
    exchanged at each neuron by itself. Equals go and come by index.
    """

    def one(alive: Float[Array, " n"], size: Float[Array, " n"], want: Float[Array, " n"]) -> Array:
        dead = alive.size - jnp.sum(alive)
        kept = _without(jnp.where(alive == 0, -jnp.inf, size), dead + _count(share, jnp.sum(alive)))
        return _without(jnp.where(kept == 1, jnp.inf, want), dead)

    def layer(alive: Array, size: Array, want: Array) -> Array:
        if scope == "neuron":
            return jax.vmap(one, in_axes=1, out_axes=1)(alive, size, want)
        return one(alive.ravel(), size.ravel(), want.ravel()).reshape(alive.shape)

    return jax.tree.map(layer, mask, sizes, wanted)


def _count(sparsity: Float[Array, ""] | float, weights: Float[Array, ""] | int) -> Float[Array, ""]:
    """`round(s n)` of the product in float32, which may fall on the other side of one half than s n does."""
    return jnp.round(jnp.asarray(sparsity * weights, jnp.float32))


def _without(scores: Float[Array, " n"], removed: Float[Array, ""]) -> Float[Array, " n"]:
    """The mask without so many of the lowest."""
    order = jnp.argsort(scores, stable=True)
    return jnp.zeros(scores.size).at[order].set(1.0 - (jnp.arange(scores.size) < removed))


def zeros(mask: Kernels) -> Int[Array, ""]:
    """The number of zeros among all prunable weights."""
    return jnp.asarray(sum(jnp.sum(m == 0) for m in mask.values()))


def sparsity(mask: Kernels) -> Float[Array, ""]:
    """The share of zeros among all prunable weights."""
    return zeros(mask) / sum(m.size for m in mask.values())


def achieved(agent: Agent) -> Float[Array, ""]:
    """The sparsity an agent has: the share of its policy's prunable weights that is exactly zero.

    Where its value network is pruned as well, or instead, the share of the weights of both.
    """
    pruned = agent.pruned()
    value = None if agent.value_mask is None else kernels(pruned.value)
    return sparsity(_together(kernels(pruned.policy), value))


def masked_out(agent: Agent) -> Float[Array, ""]:
    """The share of zeros in the masks of an agent: of its policy's weights, or of both networks' likewise."""
    return sparsity(_together(of(agent), agent.value_mask))


def _together(policy: Kernels, value: Kernels | None) -> Kernels:
    """The kernels of one or two networks as one tree."""
    return policy if value is None else policy | {f"value_{name}": kernel for name, kernel in value.items()}
