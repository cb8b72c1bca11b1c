"""Random orders of the samples of a batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray


def orders(key: PRNGKeyArray, passes: int, size: int) -> Int[Array, "{passes} {size}"]:
    """`passes` independent random orders of `range(size)`: the order of random numbers.

    `jax.random.permutation` sorts twice where `size` is large. Number and place are sorted as one word, since
    XLA sorts plain numbers five times as fast as pairs; equal numbers keep their order.
    """
    numbers = jax.random.bits(key, (passes, size))
    with jax.enable_x64(True):
        words = numbers.astype(jnp.uint64) << jnp.uint64(32) | jnp.arange(size, dtype=jnp.uint64)
        return (jax.lax.sort(words) & jnp.uint64(2**32 - 1)).astype(jnp.int32)
