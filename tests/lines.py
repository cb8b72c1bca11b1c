"""Optimal policies of `probe/linear` behind observation filters, whose attacked returns are formulas."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxprune.envs.probes import HORIZON, WEIGHTS
from jaxprune.policy import Agent, Normalizer

MEAN = np.array([0.3, -0.2, 0.1, 0.4], np.float32)
STD = np.array([0.8, 2.0, 1.5, 3.0], np.float32)


def agent(wider: float = 1.0, log_std: float = 0.0) -> Agent:
    """The policy that takes -w . o at the raw observation o, behind a filter with `wider` times `STD`."""
    std = wider * STD
    network = {
        "layer_0": {
            "kernel": jnp.asarray(-WEIGHTS * std)[:, None],
            "bias": jnp.asarray([-float(WEIGHTS @ MEAN)]),
        }
    }
    seen = Normalizer(jnp.asarray(MEAN), jnp.asarray(std**2), jnp.ones(()))
    return Agent(network, jnp.full(1, log_std), network, seen)


def population(*wider: float, log_std: float = 0.0) -> Agent:
    """Such policies as members."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(agent(each, log_std) for each in wider))


def shift(eps: float, norm: str, space: str, wider: float = 1.0) -> float:
    """How far the ball can move the action: eps times the dual norm of the weights in the ball's space."""
    weights = WEIGHTS if space == "raw" else WEIGHTS * wider * STD
    return eps * float(np.abs(weights).sum() if norm == "linf" else np.sqrt((weights**2).sum()))


def attacked_return(eps: float, norm: str, space: str, wider: float = 1.0) -> float:
    """Under MAD, which moves the action of a linear policy as far as the ball allows, to either side.

    The point is then off by that shift after every step.
    """
    return HORIZON * (1.0 - shift(eps, norm, space, wider) ** 2)
