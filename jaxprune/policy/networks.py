"""Fully connected networks, their initialisation without LAPACK, and their layers as plain matrices."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.precision import PRECISION

Params = dict[str, Any]
"""`{"layer_0": {"kernel": [in, out], "bias": [out]}, "layer_1": ...}`, the last layer being the output."""

Kernels = dict[str, Float[Array, "*members _in _out"]]
"""One array per layer, of the shape of its kernel: weights, scores or masks."""

Layer = tuple[Float[Array, "_out _in"], Float[Array, " _out"]]
Layers = tuple[Layer, ...]
"""The same network as the verification literature writes it: `W_l [out, in]` and `b_l [out]`."""

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "swish": jax.nn.swish,
}
"""What stands between the layers, elementwise, by name."""


def orthogonal(scale: float) -> Callable[..., Array]:
    """An initialiser drawing `scale` times a uniformly random (semi-)orthogonal matrix.

    It is the polar factor of a Gaussian matrix, which is Haar distributed, found by the Newton-Schulz
    iteration `X <- (3 X - X X^T X) / 2`. Matrix products only: QR inside a batched program can hang
    (LAPACK and XLA wait for each other's threads).
    """

    def draw(key: PRNGKeyArray, shape: tuple[int, int], dtype: Any = jnp.float32) -> Float[Array, "in out"]:
        rows, columns = shape
        x = jax.random.normal(key, shape, dtype)
        x = x if rows >= columns else x.T
        x = x / jnp.linalg.norm(x)
        product = partial(jnp.matmul, precision=PRECISION)
        step = lambda _, x: 1.5 * x - 0.5 * product(x, product(x.T, x))  # noqa: E731
        # A singular value grows by 1.5 a step until it is near 1: 60 steps lift 1e-9 of the norm.
        x = jax.lax.fori_loop(0, 60, step, x)
        return scale * (x if rows >= columns else x.T)

    return draw


class MLP(nn.Module):
    """`W_L act(... act(W_1 x + b_1) ...) + b_L`; the last layer is linear and starts small.

    features: width of each layer, the output included. output_scale: gain of the last layer's start.
    """

    features: tuple[int, ...]
    activation: str = "tanh"
    output_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, " obs"]) -> Float[Array, " out"]:
        """One input in, one output out."""
        for i, width in enumerate(self.features):
            last = i == len(self.features) - 1
            scale = self.output_scale if last else 2**0.5
            layer = nn.Dense(width, kernel_init=orthogonal(scale), precision=PRECISION, name=f"layer_{i}")
            x = layer(x)
            x = x if last else ACTIVATIONS[self.activation](x)
        return x


def init(
    key: PRNGKeyArray, inputs: int, features: tuple[int, ...], activation: str, output_scale: float
) -> Params:
    """Draw the parameters of an `MLP` with `inputs` inputs."""
    network = MLP(features, activation, output_scale)
    return dict(network.init(key, jnp.zeros(inputs))["params"])


def apply(params: Params, x: Float[Array, " obs"], activation: str) -> Float[Array, " out"]:
    """The network's output for one input; the widths are read off the parameters."""
    features = tuple(params[f"layer_{i}"]["bias"].shape[-1] for i in range(len(params)))
    # Flax would return a pair only if the network changed its parameters.
    return MLP(features, activation).apply({"params": params}, x)  # pyright: ignore[reportReturnType]


def kernels(params: Params) -> Kernels:
    """The prunable weights of a network."""
    return {name: layer["kernel"] for name, layer in params.items()}


def masked(params: Params, mask: Kernels) -> Params:
    """The pruned network, `W * M`; biases are left alone."""
    return {name: layer | {"kernel": layer["kernel"] * mask[name]} for name, layer in params.items()}


def layers(params: Params) -> Layers:
    """The network as `((W_1, b_1), ..., (W_L, b_L))` with `W_l` of shape [out, in]."""
    ordered = (params[f"layer_{i}"] for i in range(len(params)))
    return tuple((layer["kernel"].T, layer["bias"]) for layer in ordered)
