"""The gap between computed and exact outputs, measured in float64."""

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
    kind, nearest = {"norm": "linf", "activation": activation}, np.inf
    for key in jax.random.split(jax.random.key(0), 40):
        layers, state, eps = random_case(key, (5, 32, 32, 3))
        offset = eps * jax.random.uniform(key, state.shape, minval=-1)
        computed = bounds.forward(layers, state + offset, activation=activation) - bounds.forward(
            layers, state, activation=activation
        )
        exact = exact_output(layers, state + offset, FUNCTIONS[activation]) - exact_output(
            layers, state, FUNCTIONS[activation]
        )
        gap, error = np.float64(computed) - exact, bounds.evaluation_error(layers, state, eps, **kind)
        assert np.linalg.norm(gap) <= error.euclidean
        assert np.ptp(gap) <= error.span
        nearest = min(nearest, error.euclidean / np.linalg.norm(gap))
    assert nearest < 1e4  # a worst case of rounding, but of the same kind


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_mask_raises_the_error(norm):
    for key in jax.random.split(jax.random.key(1), 40):
        layers, state, _ = random_case(key, (4, 8, 8, 2))
        keep = jax.random.bernoulli(key, 0.7, (8, 8))
        (weight, bias) = layers[1]
        pruned = bounds.evaluation_error((layers[0], (weight * keep, bias), layers[2]), state, 0.1, norm=norm)
        whole = bounds.evaluation_error(layers, state, 0.1, norm=norm)
        assert pruned.euclidean <= whole.euclidean and pruned.span <= whole.span


def test_saturated_units_are_no_larger_than_one():
    """tanh keeps the error of the last layer at its weights, however large the observation."""
    layers = ((1e4 * jnp.ones((1, 1)), jnp.zeros(1)), (jnp.ones((1, 1)), jnp.zeros(1)))
    of_relu, of_tanh = (
        bounds.evaluation_error(layers, jnp.ones(1), 0.0, activation=name).euclidean
        for name in ("relu", "tanh")
    )
    assert of_tanh < of_relu
