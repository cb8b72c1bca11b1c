"""What decides which weights go first. A score is one number per weight; the lowest are removed."""

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jaxprune.errors import unknown_name
from jaxprune.policy import Kernels

SCORES = ("magnitude", "random")


def score(name: str, weights: Kernels, key: PRNGKeyArray) -> Kernels:
    """`|w|` ("magnitude") or a uniform draw per weight ("random": the same key gives the same order).

    Raises SpecError for an unknown name.
    """
    if name == "magnitude":
        return jax.tree.map(jnp.abs, weights)
    if name == "random":
        keys = jax.random.split(key, len(weights))
        return {
            layer: jax.random.uniform(k, w.shape) for k, (layer, w) in zip(keys, weights.items(), strict=True)
        }
    raise unknown_name("score", name, SCORES)
