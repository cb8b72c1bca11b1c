"""How a budget grows over the training."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def linear(progress: Float[Array, ""], ramp: Float[Array, ""] | float) -> Float[Array, ""]:
    """From 0 at the start to 1 when a share `ramp` of the training is done, and 1 afterwards."""
    return jnp.clip(progress / jnp.maximum(ramp, 1e-6), 0.0, 1.0)
