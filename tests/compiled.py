"""How a test's programs are compiled."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def as_users_compile() -> Iterator[None]:
    """With XLA's optimisations: without, the rounding of an update depends on what else its program holds."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.clear_caches()  # they do not tell programs apart by this
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
        jax.clear_caches()
