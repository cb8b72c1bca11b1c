"""A pruned policy as the smaller dense network that computes the same."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxprune.policy.agent import Agent
from jaxprune.policy.networks import ACTIVATIONS, Params


class _Layer(NamedTuple):
    kernel: np.ndarray
    bias: np.ndarray


def compact(agent: Agent) -> Agent:
    """The agent without the hidden units that its mask has cut off.

    A unit from which no weight leads is left out. One to which none leads has the same output `act(b)`
    always: it is left out as well, and what it gives goes into the biases of the next layer. Every hidden
    layer keeps at least one unit. The outputs are the same up to rounding; the value network and the filter
    are untouched. For one agent, without a member axis, on the host.
    """
    policy = agent.pruned().policy
    layers = [
        _Layer(np.array(policy[f"layer_{i}"]["kernel"]), np.array(policy[f"layer_{i}"]["bias"]))
        for i in range(len(policy))
    ]
    places = range(len(layers) - 1)
    for place in reversed(places):  # what leads only to units that are left out is left out as well
        _keep(layers, place, (layers[place + 1].kernel != 0).any(axis=1))
    for place in places:
        (kernel, bias), after = layers[place], layers[place + 1]
        moves = (kernel != 0).any(axis=0)
        still = np.asarray(ACTIVATIONS[agent.activation](jnp.asarray(bias))) * ~moves
        after.bias[:] += still @ after.kernel
        after.kernel[~moves] = 0.0  # the one that stays where none moves must not give twice
        _keep(layers, place, moves)
    smaller: Params = {
        f"layer_{i}": jax.tree.map(jnp.asarray, layer._asdict()) for i, layer in enumerate(layers)
    }
    return agent.replace(policy=smaller, mask=None)


def _keep(layers: list[_Layer], place: int, which: np.ndarray) -> None:
    """Leave the other units of a hidden layer out, all but the first where none would be left."""
    which = which if which.any() else np.arange(which.size) == 0
    (kernel, bias), after = layers[place], layers[place + 1]
    layers[place] = _Layer(kernel[:, which].copy(), bias[which])
    layers[place + 1] = after._replace(kernel=after.kernel[which].copy())
