"""The arithmetic of everything that acts, attacks, learns or bounds.

A certificate is about the numbers that an attack would see, so both use the same products. By default, some
accelerators round the factors of a float32 product to 10 bits (TF32) or 7 (bfloat16).
"""

import jax
import jax.numpy as jnp

PRECISION = jax.lax.Precision.HIGHEST
"""Passed to every matrix product of the library."""


def in_words() -> str:
    """The number format and the precision of its products, for records of a run."""
    return f"{jnp.zeros(()).dtype}, products highest"
