"""Networks of a state and an action, for critics, and the minibatches that teach them."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxprune.policy import Params, networks
from jaxprune.training.batch import Transitions
from jaxprune.training.regularizers.api import Sizes
from jaxprune.training.shuffle import orders

PASSES, PARTS = 4, 8
"""Over the transitions of an iteration, and into how many minibatches each is split."""

Taught = TypeVar("Taught")


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


def taught(
    learn: Callable[[Taught, Transitions], Taught], critic: Taught, seen: Transitions, key: PRNGKeyArray
) -> Taught:
    """The critic after `learn` has had `PASSES` over the transitions, in shuffled minibatches of equal size.

    What does not fill a minibatch is left out of a pass.
    """
    count = seen.reward.shape[0]
    parts = min(PARTS, count)
    order = orders(key, PASSES, count)[:, : count // parts * parts]

    def step(now: Taught, rows: Int[Array, " row"]) -> tuple[Taught, None]:
        return learn(now, jax.tree.map(lambda array: array[rows], seen)), None

    return jax.lax.scan(step, critic, order.reshape(PASSES * parts, -1))[0]
