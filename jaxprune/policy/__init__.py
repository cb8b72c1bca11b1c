"""Policies: networks, action distributions, the observation filter, and the agent that holds all three."""

from jaxprune.policy.agent import Agent
from jaxprune.policy.compact import compact
from jaxprune.policy.distributions import Categorical, Distribution, Gaussian, divergence
from jaxprune.policy.networks import ACTIVATIONS, Kernels, Layer, Layers, Params, kernels, layers, masked
from jaxprune.policy.normalizer import Normalizer

__all__ = [
    "ACTIVATIONS",
    "Agent",
    "Categorical",
    "Distribution",
    "Gaussian",
    "Kernels",
    "Layer",
    "Layers",
    "Normalizer",
    "Params",
    "compact",
    "divergence",
    "kernels",
    "layers",
    "masked",
]
