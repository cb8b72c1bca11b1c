"""How a test's programs are compiled."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def as_users_compile() -> Iterator[None]:
    """With XLA's optimisations: without, the rounding of an update depends on what else its program holds."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
