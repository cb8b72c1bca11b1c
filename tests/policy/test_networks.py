"""Networks start orthogonal without LAPACK and compute what a plain NumPy forward pass computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from jaxprune.policy import ACTIVATIONS, layers, networks

INPUTS, FEATURES = 4, (7, 5, 3)
SHAPES = [(64, 64), (11, 64), (64, 3), (3, 64), (2, 2), (5, 1), (1, 5), (1, 1)]

NUMPY_ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "swish": lambda x: x * expit(x),
}


def draws(shape, count, scale=1.0, seed=0):
    """`count` matrices, [count, rows, columns], drawn as the members of one population."""
    draw = jax.vmap(lambda key: networks.orthogonal(scale)(key, shape))
    return np.asarray(jax.jit(draw)(jax.random.split(jax.random.key(seed), count)), np.float64)


def random_params(seed):
    rng = np.random.default_rng(seed)
    sizes = (INPUTS, *FEATURES)
    return {
        f"layer_{i}": {
            "kernel": jnp.asarray(rng.normal(size=sizes[i : i + 2]), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=sizes[i + 1]), jnp.float32),
        }
        for i in range(len(FEATURES))
    }


def numpy_forward(params, x, activation):
    for i in range(len(params)):
        layer = params[f"layer_{i}"]
        x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
        x = NUMPY_ACTIVATIONS[activation](x) if i < len(params) - 1 else x
    return x


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shorter_side_of_every_members_matrix_is_orthonormal(shape):
    x = draws(shape, 10)
    gram = x @ x.swapaxes(1, 2) if shape[0] < shape[1] else x.swapaxes(1, 2) @ x
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(min(shape)), gram.shape), atol=3e-6)


def test_two_thousand_small_matrices_are_all_orthogonal():
    x = draws((3, 3), 2000)
    np.testing.assert_allclose(x @ x.swapaxes(1, 2), np.broadcast_to(np.eye(3), x.shape), atol=3e-6)


def test_the_scale_multiplies_an_orthogonal_matrix():
    np.testing.assert_allclose(draws((4, 6), 3, scale=0.01), 0.01 * draws((4, 6), 3), rtol=1e-6)


def test_matrices_have_the_moments_of_the_haar_measure():
    count = 4000
    x = draws((3, 3), count)
    # five standard errors of each mean
    np.testing.assert_allclose(x.mean(0), 0.0, atol=5 * np.sqrt(1 / 3 / count))
    np.testing.assert_allclose((x**2).mean(0), 1 / 3, atol=5 * np.sqrt(4 / 45 / count))
    np.testing.assert_allclose((x**4).mean(0), 1 / 5, atol=5 * np.sqrt((1 / 9 - 1 / 25) / count))
    assert abs((np.linalg.det(x) > 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(count)
    trace = np.trace(x, axis1=1, axis2=2)
    assert abs((trace**2).mean() - 1.0) < 5 * np.std(trace**2) / np.sqrt(count)


def test_different_keys_draw_different_matrices():
    x = draws((3, 3), 50).reshape(50, -1)
    gaps = np.abs(x[:, None] - x[None]).max(-1) + np.eye(50)
    assert gaps.min() > 1e-3


def test_starting_a_population_calls_no_lapack():
    def init(key):
        return networks.init(key, INPUTS, FEATURES, "tanh", 1.0)

    keys = jax.random.split(jax.random.key(0), 10)
    assert "custom_call" not in jax.jit(jax.vmap(init)).lower(keys).as_text()
    with_lapack = jax.jit(lambda x: jnp.linalg.qr(x)[0]).lower(jnp.eye(3)).as_text()
    assert "custom_call" in with_lapack, "the search would not find LAPACK if it were there"


def test_hidden_kernels_start_with_gain_root_two_the_output_with_its_own_and_biases_at_zero():
    params = jax.jit(lambda key: networks.init(key, INPUTS, FEATURES, "tanh", 0.01))(jax.random.key(0))
    gains = [np.linalg.svd(params[f"layer_{i}"]["kernel"], compute_uv=False) for i in range(3)]
    np.testing.assert_allclose(gains[0], np.sqrt(2), rtol=1e-5)
    np.testing.assert_allclose(gains[1], np.sqrt(2), rtol=1e-5)
    np.testing.assert_allclose(gains[2], 0.01, rtol=1e-5)
    assert not any(np.any(layer["bias"]) for layer in params.values())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_apply_is_the_plain_forward_pass(activation, seed):
    params, x = random_params(seed), np.random.default_rng(seed).normal(size=INPUTS).astype(np.float32)
    found = networks.apply(params, jnp.asarray(x), activation)
    np.testing.assert_allclose(found, numpy_forward(params, x, activation), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_layers_as_matrices_compute_the_same_network(activation):
    params, x = random_params(0), np.linspace(-1, 1, INPUTS)
    found = x
    for i, (weight, bias) in enumerate(layers(params)):
        found = np.asarray(weight, np.float64) @ found + np.asarray(bias, np.float64)
        found = found if i == len(FEATURES) - 1 else NUMPY_ACTIVATIONS[activation](found)
    wanted = networks.apply(params, jnp.asarray(x, jnp.float32), activation)
    np.testing.assert_allclose(wanted, found, rtol=1e-4, atol=1e-5)


def test_layers_keep_their_order_beyond_ten():
    params = {
        f"layer_{i}": {"kernel": jnp.full((1, 1), float(i)), "bias": jnp.zeros(1)}
        for i in sorted(range(12), key=str)
    }
    assert [float(weight[0, 0]) for weight, _ in layers(params)] == list(range(12))
