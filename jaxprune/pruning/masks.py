"""Masks over the kernels of one policy network: exact counts, per layer or global.

A mask tree mirrors the kernels: `{"layer_0": [in, out], ...}`, 1 where a weight lives, 0 where it is zero.
Biases, log-std and the observation filter are never pruned. The sparsity is traced: one compilation
serves every level.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxprune.policy import Agent, Kernels, Params, kernels

SCOPES = ("layer", "global")


def dense(params: Params) -> Kernels:
    """The mask that removes nothing."""
    return jax.tree.map(jnp.ones_like, kernels(params))


def of(agent: Agent) -> Kernels:
    """The mask of an agent; where it has none, the one that removes nothing."""
    return dense(agent.policy) if agent.mask is None else agent.mask


def lowest_removed(scores: Kernels, sparsity: Float[Array, ""] | float, scope: str = "layer") -> Kernels:
    """The mask that removes exactly `round(sparsity * n)` weights, those of the lowest scores.

    Ties are broken by index. `n` counts one kernel at a time (scope "layer") or all together ("global").
    """
    if scope == "global":
        sizes = [score.size for score in scores.values()]
        flat = _lowest_removed(jnp.concatenate([score.ravel() for score in scores.values()]), sparsity)
        parts = jnp.split(flat, [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)])
        return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}
    return {
        name: _lowest_removed(score.ravel(), sparsity).reshape(score.shape) for name, score in scores.items()
    }


def _lowest_removed(scores: Float[Array, " n"], sparsity: Float[Array, ""] | float) -> Float[Array, " n"]:
    order = jnp.argsort(scores, stable=True)
    removed = jnp.arange(scores.size) < jnp.round(sparsity * scores.size)
    return jnp.zeros(scores.size).at[order].set(1.0 - removed)


def zeros(mask: Kernels) -> Int[Array, ""]:
    """The number of zeros among all prunable weights."""
    return jnp.asarray(sum(jnp.sum(m == 0) for m in mask.values()))


def sparsity(mask: Kernels) -> Float[Array, ""]:
    """The share of zeros among all prunable weights."""
    return zeros(mask) / sum(m.size for m in mask.values())


def achieved(agent: Agent) -> Float[Array, ""]:
    """The sparsity an agent has: the share of its policy's prunable weights that is exactly zero."""
    return sparsity(kernels(agent.pruned().policy))
