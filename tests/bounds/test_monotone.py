"""The theorem: bounds built from |W| never rise under a mask; the plain spectral norm does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxprune import bounds

MONOTONE = [name for name, bound in bounds.BOUNDS.items() if bound.monotone]
SIZES = ((4, 3), (4, 4), (2, 4))
NUMBERS = st.floats(-4, 4, width=32, allow_subnormal=False)


@partial(jax.jit, static_argnames=("name", "norm"))
def of_weights(weights, std, *, name, norm):
    layers = tuple((weight, jnp.zeros(len(weight))) for weight in weights)
    return bounds.BOUNDS[name](bounds.in_std_units(layers, std), 0.1, norm=norm)


@pytest.mark.parametrize("name", MONOTONE)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@settings(max_examples=25, deadline=None)
@given(
    weights=st.tuples(*(hnp.arrays(np.float32, size, elements=NUMBERS) for size in SIZES)),
    masks=st.tuples(*(hnp.arrays(np.bool_, size) for size in SIZES)),
    std=hnp.arrays(np.float32, 2, elements=st.floats(0.125, 4, width=32)),
)
def test_no_mask_raises_a_monotone_bound(name, norm, weights, masks, std):
    dense, pruned = (
        of_weights(layers, std, name=name, norm=norm)
        for layers in (weights, tuple(w * m for w, m in zip(weights, masks, strict=True)))
    )
    for size in ("euclidean", "span"):
        assert getattr(pruned, size) <= getattr(dense, size) * (1 + 1e-5) + 1e-12


def test_pruning_one_weight_raises_the_spectral_norm():
    dense = bounds.spectral_norm(jnp.array([[1.0, 1.0], [1.0, -1.0]]))
    pruned = bounds.spectral_norm(jnp.array([[1.0, 1.0], [1.0, 0.0]]))
    np.testing.assert_allclose((dense, pruned), (1.41421, 1.61803), rtol=2e-3)


def test_pruning_one_weight_raises_the_tight_bound():
    hidden = (jnp.ones((2, 1)), jnp.zeros(2))
    crown = jax.jit(bounds.crown_bound)
    dense = crown((hidden, (jnp.array([[1.0, -1.0]]), jnp.zeros(1))), jnp.zeros(1), 0.5)
    pruned = crown((hidden, (jnp.array([[1.0, 0.0]]), jnp.zeros(1))), jnp.zeros(1), 0.5)
    assert dense.euclidean < pruned.euclidean


def test_constants_of_the_path_and_induced_bounds():
    layers = ((jnp.array([[1.0, -2.0]]), jnp.zeros(1)), (jnp.array([[3.0], [-4.0]]), jnp.zeros(2)))
    linf, l2 = (bounds.path_bound(layers, 0.1, norm=norm) for norm in ("linf", "l2"))
    np.testing.assert_allclose(linf, (0.1 * 15, 0.1 * 21), rtol=1e-5)
    np.testing.assert_allclose(l2, (0.1 * 5 * np.sqrt(5), 0.1 * 7 * np.sqrt(5)), rtol=1e-4)
    np.testing.assert_allclose(
        bounds.path_bound(layers, jnp.array([0.1, 0.2])).euclidean, 5 * (0.1 + 0.4), rtol=1e-5
    )
    np.testing.assert_allclose(bounds.induced_inf_product(layers, 0.1), (1.5, 2.1), rtol=1e-5)
    np.testing.assert_allclose(bounds.induced_one_product(layers, 0.1), (2.8, 2.8), rtol=1e-5)
    np.testing.assert_allclose(
        bounds.frobenius_product(layers, 0.1).euclidean, 0.1 * np.sqrt(2) * 5 * np.sqrt(5), rtol=1e-5
    )
    np.testing.assert_allclose(
        bounds.induced_one_product(layers, 0.1, norm="l2"), [0.1 * np.sqrt(2) * 14] * 2, rtol=1e-5
    )
    np.testing.assert_allclose(bounds.induced_inf_product(layers, 0.1, norm="l2"), (1.5, 2.1), rtol=1e-5)
    # Of a change by its length alone, `max D - min D` is the root of two times that.
    for of_length in (bounds.frobenius_product, bounds.spectral_product, bounds.eclipse_bound):
        change = of_length(layers, 0.1, norm="l2")
        np.testing.assert_allclose(change.span, np.sqrt(2) * change.euclidean, rtol=1e-5)
        np.testing.assert_allclose(of_length(layers, 0.1).euclidean, np.sqrt(2) * change.euclidean, rtol=1e-4)
