"""Networks of a state and an action, for critics."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxprune.policy import Params, networks
from jaxprune.training.regularizers.api import Sizes


def start(sizes: Sizes, key: PRNGKeyArray) -> Params:
    """One that reads `concat(x, a)`, or x alone and gives one number per discrete action."""
    inputs, outputs = (
        (sizes.observation, sizes.action) if sizes.discrete else (sizes.observation + sizes.action, 1)
    )
    return networks.init(key, inputs, (*sizes.hidden, outputs), "tanh", 0.01)


def value(
    params: Params, x: Float[Array, " obs"], action: Float[Array, " act"] | Int[Array, ""]
) -> Float[Array, ""]:
    """What it says of one state and action."""
    if action.ndim == 0:
        return networks.apply(params, x, "tanh")[action]
    return networks.apply(params, jnp.concatenate([x, action]), "tanh")[0]
