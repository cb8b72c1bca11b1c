"""Bounds of weights whose squares and products leave the range of float32, against attacks in float64."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprune import bounds
from jaxprune.bounds import Change
from jaxprune.bounds.change import tightest
from jaxprune.bounds.rounding import l2_norm

SIZES, EPS = (3, 5, 4, 2), 0.1
EVERYWHERE = {name: bound for name, bound in bounds.BOUNDS.items() if not bound.local}
CHEAP = {name: bound for name, bound in bounds.BOUNDS.items() if bound.local and bound.cheap}
FUNCTIONS = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}


def network(seed, exponents, spread):
    """Weights around `10^exponent`, layer by layer, each up to `10^spread` away from it; biases likewise."""
    rng = np.random.default_rng(seed)
    layers = []
    for (fan_in, fan_out), exponent in zip(pairwise(SIZES), exponents, strict=True):
        sizes = 10.0 ** (exponent + spread * rng.uniform(-1, 1, (fan_out, fan_in + 1)))
        values = np.float32(rng.normal(size=sizes.shape) * sizes)
        layers.append((jnp.asarray(values[:, :-1]), jnp.asarray(values[:, -1])))
    return tuple(layers)


def largest_change(layers, state, *, norm, activation, seed=0):
    """What random points and corners of the ball reach, computed in float64: Euclidean size and span."""
    rng, wide = np.random.default_rng(seed), jax.tree.map(np.float64, layers)
    directions = np.concatenate([rng.choice((-1.0, 1.0), (200, SIZES[0])), np.eye(SIZES[0])])
    if norm == "l2":
        directions = rng.normal(size=(200, SIZES[0]))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)

    def output(x):
        for weight, bias in wide[:-1]:
            x = FUNCTIONS[activation](x @ weight.T + bias)
        return x @ wide[-1][0].T + wide[-1][1]

    shown = np.float64(state) + np.float64(np.float32(EPS)) * directions * (1 - 1e-9)
    outputs, clean = output(shown), output(np.float64(state)[None])
    change = outputs - clean
    rounding = 1e-13 * (np.abs(outputs).max() + np.abs(clean).max())
    with np.errstate(under="ignore"):
        euclidean = np.hypot.reduce(change, axis=1).max()
    return euclidean - rounding, np.ptp(change, axis=1).max() - rounding


@partial(jax.jit, static_argnames=("norm", "activation"))
def everywhere(layers, *, norm, activation):
    """The global bounds by name."""
    return {name: b(layers, EPS, norm=norm, activation=activation) for name, b in EVERYWHERE.items()}


@partial(jax.jit, static_argnames=("norm", "activation"))
def at_state(layers, state, *, norm, activation):
    """The cheap local bounds by name."""
    return {name: b(layers, state, EPS, norm=norm, activation=activation) for name, b in CHEAP.items()}


def below(bound, found):
    """Whether a bound claims less than what was found; one that is NaN claims nothing."""
    return bool(bound.euclidean < found[0] or bound.span < found[1])


EXPONENTS = st.tuples(*(st.floats(-25, 25) for _ in pairwise(SIZES)))
KINDS = st.sampled_from([(norm, activation) for norm in ("linf", "l2") for activation in FUNCTIONS])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), exponents=EXPONENTS, spread=st.sampled_from((0, 8)), kind=KINDS)
def test_no_attack_in_float64_exceeds_a_global_bound_of_weights_of_any_scale(seed, exponents, spread, kind):
    norm, activation = kind
    layers = tuple((weight, 0 * bias) for weight, bias in network(seed, exponents, spread))
    found = largest_change(layers, np.zeros(SIZES[0]), norm=norm, activation=activation)
    for name, bound in everywhere(layers, norm=norm, activation=activation).items():
        assert not below(bound, found), (name, bound, found)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), exponents=EXPONENTS, spread=st.sampled_from((0, 8)), kind=KINDS)
def test_no_attack_in_float64_exceeds_a_local_bound_of_weights_of_any_scale(seed, exponents, spread, kind):
    norm, activation = kind
    layers = network(seed, exponents, spread)
    state = jnp.asarray(np.random.default_rng(seed).normal(size=SIZES[0]), jnp.float32)
    found = largest_change(layers, state, norm=norm, activation=activation)
    for name, bound in at_state(layers, state, norm=norm, activation=activation).items():
        assert not below(bound, found), (name, bound, found)


def squares_of_the_weights_as_they_are(layers):
    """Planted fault: Frobenius norms from squares that vanish, multiplied in the order of the layers."""
    bound = jnp.float32(EPS * np.sqrt(SIZES[0]))
    for weight, _ in layers:
        bound = bound * jnp.sqrt(jnp.sum(weight**2))
    return Change(bound, jnp.sqrt(2.0) * bound)


@pytest.mark.parametrize("exponents", [(-25, 15, 10), (-20, -25, 18)])
def test_the_comparison_catches_squares_that_vanish(exponents):
    layers = tuple((weight, 0 * bias) for weight, bias in network(0, exponents, 0))
    found = largest_change(layers, np.zeros(SIZES[0]), norm="linf", activation="relu")
    assert below(squares_of_the_weights_as_they_are(layers), found)
    assert not below(bounds.frobenius_product(layers, EPS, activation="relu"), found)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("exponents", [(20, 15, -30), (-25, 25, 3), (-20, -30, 25), (19, 19, -10)])
def test_a_global_bound_that_float32_can_hold_is_as_tight_as_in_float64(exponents, norm):
    layers = network(1, exponents, 0)
    single = everywhere(layers, norm=norm, activation="relu")
    with jax.enable_x64(True):
        wide = tuple((jnp.float64(weight), jnp.float64(bias)) for weight, bias in layers)
        double = everywhere(wide, norm=norm, activation="relu")
        for name, bound in double.items():
            np.testing.assert_allclose(single[name], bound, rtol=2e-3, err_msg=name)


@pytest.mark.parametrize("scale", [1e-30, 1e-19, 1.0, 1e19, 1e30])
def test_euclidean_norm_and_its_gradient_at_any_scale(scale):
    values = jnp.float32(scale) * jnp.array([[3.0, 4.0], [0.0, 5.0]])
    np.testing.assert_allclose(l2_norm(values, axis=1) / scale, [5, 5], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(l2_norm)(values[0]), [0.6, 0.8], rtol=1e-6)


def test_the_compiled_spectral_norm_of_nothing_has_a_gradient_of_zero():
    norm, gradient = jax.jit(jax.value_and_grad(bounds.spectral_norm))(jnp.zeros((4, 3)))
    assert 0 < norm < 1e-37
    np.testing.assert_array_equal(gradient, 0)


def test_the_norm_of_nothing_is_just_above_zero_with_a_gradient_of_zero():
    nothing = jnp.zeros((2, 2))
    assert 0 < l2_norm(nothing) < 1e-37
    for norm in (l2_norm, bounds.spectral_norm):
        np.testing.assert_array_equal(jax.grad(norm)(nothing), nothing)
    assert np.isinf(l2_norm(jnp.array([jnp.inf, 1.0])))


@pytest.mark.parametrize("bound", EVERYWHERE.values(), ids=str)
def test_a_pruned_network_moves_by_nothing_and_its_bound_has_a_finite_gradient(bound):
    layers = tuple((jnp.zeros((m, n)), jnp.zeros(m)) for n, m in pairwise(SIZES))
    assert bound(layers, EPS).euclidean < 1e-30
    gradient = jax.grad(lambda layers: bound(layers, EPS).euclidean)(layers)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_a_bound_that_is_not_a_number_does_not_hide_the_others():
    nothing, something = Change(jnp.nan, jnp.nan), Change(jnp.float32(2.0), jnp.float32(3.0))
    for order in ((nothing, something), (something, nothing)):
        assert tightest(*order) == (2, 3)
