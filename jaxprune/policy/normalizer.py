"""Running mean and variance of a stream, and the observation filter made of them."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

CLIP = 10.0
"""Normalised observations are clipped to ±CLIP, as in the SA-PPO family, unless an agent brings its own."""

LEAST_STD = 1e-8
"""What is added to a standard deviation, so that a constant coordinate divides by no zero."""


class Normalizer(struct.PyTreeNode):
    """Mean, variance and count of everything seen. Mean 0 and variance 1 before the first batch.

    clip: the normalised observation is clipped to ±clip; infinity for none.
    """

    mean: Float[Array, "*shape"]
    variance: Float[Array, "*shape"]
    count: Float[Array, "*members"]
    clip: float = struct.field(pytree_node=False, default=CLIP)


def init(shape: tuple[int, ...]) -> Normalizer:
    """A normaliser that has seen nothing: the identity, up to the clip."""
    return Normalizer(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def update(normalizer: Normalizer, batch: Float[Array, " batch *shape"]) -> Normalizer:
    """Add a batch: Welford's update in Chan's batch form.

    With w = n / (N + n) and d = mean(batch) - mean:
    mean' = mean + w d,  variance' = (1 - w) variance + w var(batch) + w (1 - w) d^2.
    Written with shares instead of sums, so that no number grows with the length of the run.
    """
    n = batch.shape[0]
    share = n / (normalizer.count + n)
    gap = batch.mean(0) - normalizer.mean
    variance = (1 - share) * normalizer.variance + share * batch.var(0) + share * (1 - share) * gap**2
    return Normalizer(normalizer.mean + share * gap, variance, normalizer.count + n, normalizer.clip)


def std(normalizer: Normalizer) -> Float[Array, "*shape"]:
    """The standard deviation, kept above `LEAST_STD`."""
    return jnp.sqrt(normalizer.variance) + LEAST_STD


def normalise(normalizer: Normalizer, observation: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`clip((s - mean) / std, ±clip)`: raw observation in, normalised observation out."""
    limit = normalizer.clip
    return jnp.clip((observation - normalizer.mean) / std(normalizer), -limit, limit)
