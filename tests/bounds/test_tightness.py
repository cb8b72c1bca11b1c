"""Bounds against the formulas written out, brute force, linear networks, and each other."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import bounds
from jaxprune.bounds.activations import activation_named
from jaxprune.bounds.ball import ball
from jaxprune.bounds.crown import crown_hidden
from jaxprune.bounds.linear import preactivation
from tests.bounds import plain
from tests.bounds.cases import random_case

LOCAL = {
    name: jax.jit(replace(bound, effort=bound.effort and 8), static_argnames=("norm", "activation"))
    for name, bound in bounds.BOUNDS.items()
    if bound.local
}
"""All bounds at one observation, the costly ones with little effort."""

FINE = jax.jit(partial(bounds.branching_bound, parts=256))
INTERVAL_BOX = jax.jit(bounds.interval_box)
CROWN_IBP_BOX = jax.jit(bounds.crown_ibp_box)
ECLIPSE = jax.jit(partial(bounds.eclipse_bound, norm="l2"))
SPECTRAL = jax.jit(partial(bounds.spectral_product, norm="l2"))


@jax.jit
def crown_box(layers, state, eps):
    tanh, region = activation_named("tanh"), ball(state, eps, "linf")
    return preactivation(layers, crown_hidden(layers, region, tanh), region)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def case(seed, sizes):
    layers, state, eps = random_case(jax.random.key(seed), sizes, jnp.float64)
    return layers, state, eps[0]


def as_numpy(layers):
    return [(np.asarray(weight), np.asarray(bias)) for weight, bias in layers]


@pytest.mark.parametrize("seed", range(4))
def test_interval_box_equals_the_loops(seed):
    layers, state, eps = case(seed, (3, 5, 4, 2))
    lower, upper = plain.interval_boxes(as_numpy(layers), np.asarray(state), float(eps))[-1]
    box, clean = INTERVAL_BOX(layers, state, eps), bounds.forward(layers, state)
    np.testing.assert_allclose(box.lower + clean, lower, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(box.upper + clean, upper, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("seed", "sizes"), [(1, (4, 8, 8, 6)), (2, (3, 6, 8))])
def test_the_squared_bound_and_its_derivative_are_those_of_the_bound(seed, sizes):
    """Eight outputs are more than are cut at zero."""
    (layers, state, _), eps = case(seed, sizes), 0.1

    def square(layers, state):
        return bounds.crown_bound(layers, state, eps).euclidean ** 2

    def alone(layers, state):
        return bounds.squared_crown_bound(layers, state, eps)

    wanted, slopes = jax.jit(jax.value_and_grad(square, (0, 1)))(layers, state)
    found, own_slopes = jax.jit(jax.value_and_grad(alone, (0, 1)))(layers, state)
    assert float(found) == pytest.approx(float(wanted), rel=1e-9)
    for one, other in zip(jax.tree.leaves(own_slopes), jax.tree.leaves(slopes), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    assert all(np.abs(weight).max() > 0 for weight, _ in slopes[0])


@pytest.mark.parametrize("seed", range(6))
def test_crown_box_equals_the_loops(seed):
    layers, state, eps = case(seed, (3, 5, 4, 2))
    lower, upper = plain.crown_box(as_numpy(layers), np.asarray(state), float(eps))
    box = crown_box(layers, state, eps)
    np.testing.assert_allclose(box.lower, lower, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(box.upper, upper, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_crown_over_boxes_of_intervals_is_crown_where_there_is_one_hidden_layer(seed):
    layers, state, eps = case(seed, (3, 5, 2))
    lower, upper = plain.crown_box(as_numpy(layers), np.asarray(state), float(eps))
    box, clean = CROWN_IBP_BOX(layers, state, eps), bounds.forward(layers, state)
    np.testing.assert_allclose(box.lower + clean, lower, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(box.upper + clean, upper, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_exact_on_a_linear_network_with_one_output_moving(name, norm):
    row = jnp.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
    layers, state = ((row, jnp.array([0.3, -1.0])),), jnp.array([0.1, 0.2, -0.3])
    exact = 0.25 * (3.5 if norm == "linf" else np.sqrt(5.25))
    change = LOCAL[name](layers, state, 0.25, norm=norm)
    np.testing.assert_allclose(change.euclidean, exact, rtol=1e-12)
    np.testing.assert_allclose(change.span, exact, rtol=1e-12)


def test_splitting_reaches_the_largest_distance_of_a_linear_network():
    rows = jnp.array([[1.0, 2.0], [2.0, -1.0]])
    layers, state = ((rows, jnp.zeros(2)),), jnp.zeros(2)
    assert bounds.interval_bound(layers, state, 1.0).euclidean > np.sqrt(10) * 1.3
    change = FINE(layers, state, 1.0)
    np.testing.assert_allclose(change.euclidean, np.sqrt(10), rtol=1e-2)


@pytest.mark.parametrize(("sizes", "points"), [((1, 4, 1), 4001), ((2, 4, 3, 2), 201)])
@pytest.mark.parametrize("seed", range(3))
def test_splitting_equals_brute_force_within_the_error_of_the_grid(sizes, points, seed):
    layers, state, _ = case(seed, sizes)
    eps = 0.4
    axes = [np.linspace(-eps, eps, points)] * sizes[0]
    grid = jnp.asarray(np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, sizes[0]))
    outputs = jax.vmap(partial(bounds.forward, layers))(state + grid)
    distance = float(jnp.max(jnp.linalg.norm(outputs - bounds.forward(layers, state), axis=1)))
    bound = FINE(layers, state, eps).euclidean
    lipschitz = float(SPECTRAL(layers, 1.0).euclidean)
    assert distance <= bound <= 1.03 * distance + lipschitz * eps * np.sqrt(sizes[0]) / points + 1e-9


@pytest.mark.parametrize(
    ("activation", "norm"),
    [("tanh", "linf"), *(pytest.param(name, "l2", marks=pytest.mark.slow) for name in ("relu", "swish"))],
)
def test_each_bound_is_at_least_as_tight_as_the_cheaper_one(activation, norm):
    kind = {"norm": norm, "activation": activation}
    pairs = (("interval", "crown"), ("crown", "alpha-crown"), ("crown", "branching"))
    compared = {name for pair in pairs for name in pair}

    @jax.jit
    @jax.vmap
    def bounds(key):
        layers, state, eps = random_case(key, (3, 6, 4, 2), jnp.float64)
        return {
            name: bound(layers, state, eps[0], **kind) for name, bound in LOCAL.items() if name in compared
        }

    found = bounds(jax.random.split(jax.random.key(2), 100))
    for cheap, tight in pairs:
        for size in ("euclidean", "span"):
            loose = getattr(found[cheap], size)
            assert np.all(getattr(found[tight], size) <= loose * (1 + 1e-9) + 1e-12), (cheap, tight, size)
            if (tight, activation) != ("alpha-crown", "relu"):  # few steps need not improve CROWN's 0 and 1
                assert np.mean(getattr(found[tight], size)) < np.mean(loose), (cheap, tight, size)


@pytest.mark.parametrize("seed", range(4))
def test_jacobian_bound_is_not_above_the_product_of_absolute_values(seed):
    layers, state, eps = case(seed, (3, 5, 4, 2))
    weights = as_numpy(layers)
    boxes = plain.interval_boxes(weights, np.asarray(state), float(eps))
    product = np.abs(weights[0][0])
    for (weight, _), (lower, upper) in zip(weights[1:], boxes[:-1], strict=True):
        nearest = np.maximum(np.maximum(lower, -np.array(upper)), 0)
        product = np.abs(weight) @ ((1 - np.tanh(nearest) ** 2)[:, None] * product)
    by_absolute_values = np.linalg.norm(product.sum(axis=1) * float(eps))
    assert LOCAL["jacobian"](layers, state, eps).euclidean <= by_absolute_values * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_eclipse_lies_between_the_true_slope_and_the_spectral_product(seed):
    layers, state, _ = case(seed, (6, 16, 16, 3))
    bound = ECLIPSE(layers, 1.0).euclidean
    slope = jnp.linalg.norm(jax.jacobian(partial(bounds.forward, layers))(state), ord=2)
    assert slope <= bound <= SPECTRAL(layers, 1.0).euclidean * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_eclipse_equals_its_formula_with_lapack(seed):
    layers, _, _ = case(seed, (6, 16, 16, 3))
    weights, inverse = as_numpy(layers), np.eye(6)
    for weight, _ in weights[:-1]:
        squeezed = weight @ inverse @ weight.T
        scale = 2 / np.linalg.eigvalsh(squeezed).max()
        inverse = np.linalg.inv(scale * np.eye(len(weight)) - scale**2 / 4 * squeezed)
    last = weights[-1][0]
    expected = np.sqrt(np.linalg.eigvalsh(last @ inverse @ last.T).max())
    bound = ECLIPSE(layers, 1.0).euclidean
    assert expected <= bound
    np.testing.assert_allclose(bound, expected, rtol=0.02)


def test_spectral_norm_is_just_above_the_largest_singular_value():
    matrices = jax.random.normal(jax.random.key(0), (20, 32, 20))
    exact = jnp.linalg.norm(matrices, ord=2, axis=(1, 2))
    ratio = jax.vmap(bounds.spectral_norm)(matrices) / exact
    assert np.all(ratio >= 1) and np.all(ratio < 1.01)
    assert bounds.spectral_norm(jnp.zeros((3, 2))) < 1e-100


def test_local_bounds_never_recompile_for_another_radius_or_sparsity():
    layers, state, _ = case(0, (3, 5, 2))
    bound = jax.jit(lambda *arguments: bounds.crown_bound(*arguments))
    for eps in (0.1, 0.2):
        bound(tuple((weight * (weight > eps), bias) for weight, bias in layers), state, jnp.asarray(eps))
    assert bound._cache_size() == 1
