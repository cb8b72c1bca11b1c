"""The gap between computed and exact outputs, measured in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import bounds
from tests.bounds.cases import random_case

FUNCTIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "swish": lambda z: z / (1 + np.exp(-z)),
}


def exact_output(layers, state, function):
    """The output at a state in float64 NumPy."""
    hidden = np.float64(state)
    for weight, bias in layers[:-1]:
        hidden = function(np.float64(weight) @ hidden + np.float64(bias))
    return np.float64(layers[-1][0]) @ hidden + np.float64(layers[-1][1])


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_a_computed_change_is_no_further_from_the_exact_one_than_the_error(activation):
    @jax.jit
    def case(key):
        layers, state, eps = random_case(key, (5, 32, 32, 3))
        return layers, state, eps, state + eps * jax.random.uniform(key, state.shape, minval=-1)

    forward = jax.jit(partial(bounds.forward, activation=activation))
    evaluation_error = jax.jit(partial(bounds.evaluation_error, norm="linf", activation=activation))
    nearest = np.inf
    for key in jax.random.split(jax.random.key(0), 40):
        layers, state, eps, shown = case(key)
        computed = np.float64(forward(layers, shown) - forward(layers, state))
        exact = exact_output(layers, shown, FUNCTIONS[activation]) - exact_output(
            layers, state, FUNCTIONS[activation]
        )
        gap, error = computed - exact, evaluation_error(layers, state, eps)
        assert np.linalg.norm(gap) <= error.euclidean
        assert np.ptp(gap) <= error.span
        nearest = min(nearest, error.euclidean / np.linalg.norm(gap))
    assert nearest < 1e4  # a worst case of rounding, but of the same kind


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_mask_raises_the_error(norm):
    @jax.jit
    @jax.vmap
    def errors(key):
        layers, state, _ = random_case(key, (4, 8, 8, 2))
        (weight, bias), keep = layers[1], jax.random.bernoulli(key, 0.7, (8, 8))
        pruned = layers[0], (weight * keep, bias), layers[2]
        return tuple(bounds.evaluation_error(network, state, 0.1, norm=norm) for network in (pruned, layers))

    pruned, whole = errors(jax.random.split(jax.random.key(1), 40))
    assert np.all(pruned.euclidean <= whole.euclidean) and np.all(pruned.span <= whole.span)
    assert np.any(pruned.euclidean < whole.euclidean)


def test_saturated_units_are_no_larger_than_one():
    """tanh keeps the error of the last layer at its weights, however large the observation."""
    layers = ((1e4 * jnp.ones((1, 1)), jnp.zeros(1)), (jnp.ones((1, 1)), jnp.zeros(1)))
    of_relu, of_tanh = (
        bounds.evaluation_error(layers, jnp.ones(1), 0.0, activation=name).euclidean
        for name in ("relu", "tanh")
    )
    assert of_tanh < of_relu
