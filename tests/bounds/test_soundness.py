"""No bound may lie below a distance that an attack reaches: fuzz over networks, masks, states and balls."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import bounds
from jaxprune.bounds import Change
from tests.bounds.cases import largest_found, random_case

COMBINATIONS = [
    ("tanh", "linf", (3, 6, 5, 3)),
    ("relu", "l2", (3, 6, 4, 3)),
    ("elu", "linf", (4, 5, 2)),
    ("swish", "l2", (2, 4, 3)),
]
OTHERS = [
    ("tanh", "l2", (4, 6, 6, 2)),
    ("relu", "linf", (2, 5, 2)),
    ("elu", "l2", (2, 6, 3)),
    ("swish", "linf", (2, 4, 4, 4, 3)),
]
WIDE = [("tanh", "linf", (11, 64, 64, 3)), ("relu", "l2", (17, 64, 64, 6))]
CASES = 20_000 // len(COMBINATIONS)
SIDE_BY_SIDE = 2_500

QUICK = {
    name: replace(bound, effort=4) if bound.effort is not None else bound
    for name, bound in bounds.BOUNDS.items()
}
"""All bounds; the costly ones with little effort, at which they must be as sound."""


def all_bounds(layers, state, eps, *, norm, activation):
    """Every bound of the room that holds for the activation by name, of the network as computed."""
    kind = {"norm": norm, "activation": activation}
    error = bounds.evaluation_error(layers, state, eps, **kind)
    found = {}
    for name, bound in QUICK.items():
        if bound.local:
            found[name] = bound(layers, state, eps, **kind)
        elif bound.holds_for(bounds.activation_named(activation)):
            exact = bound(layers, eps, **kind)
            found[name] = Change(*(size + extra for size, extra in zip(exact, error, strict=True)))
    return found


def violations(bounds, key, *, cases, norm, activation, sizes):
    """Number of random cases in which an attack exceeds each bound, by name of the bound."""

    @jax.jit
    @jax.vmap
    def exceeded(key):
        case_key, attack_key = jax.random.split(key)
        layers, state, eps = random_case(case_key, sizes)
        eps = eps if norm == "linf" else eps[0]
        euclidean, span = largest_found(layers, state, eps, attack_key, norm=norm, activation=activation)
        return {
            name: (euclidean > bound.euclidean) | (span > bound.span) | ~jnp.isfinite(sum(bound))
            for name, bound in bounds(layers, state, eps, norm=norm, activation=activation).items()
        }

    at_once = min(cases, SIDE_BY_SIDE if max(sizes) < 64 else SIDE_BY_SIDE // 50)
    keys = jax.random.split(key, (cases // at_once, at_once))
    found = [exceeded(batch) for batch in keys]
    return {name: sum(int(np.sum(batch[name])) for batch in found) for name in found[0]}


@pytest.mark.parametrize(("activation", "norm", "sizes"), COMBINATIONS)
def test_no_attack_exceeds_a_bound(activation, norm, sizes):
    found = violations(
        all_bounds, jax.random.key(7), cases=CASES, norm=norm, activation=activation, sizes=sizes
    )
    assert not any(found.values()), found


def power_iteration_product(layers, state, eps, *, norm, activation):
    """Planted fault: power iteration approaches the spectral norm from below."""
    size = eps if norm == "l2" else jnp.linalg.norm(eps)
    for weight, _ in layers:
        vector = jnp.ones(weight.shape[1])
        for _ in range(2):
            vector = weight.T @ (weight @ vector)
        size = size * jnp.linalg.norm(weight @ vector) / (jnp.linalg.norm(vector) + 1e-30)
    return {"power iteration": Change(size, jnp.sqrt(2.0) * size)}


def interval_without_absolute_value(layers, state, eps, *, norm, activation):
    """Planted fault: the radius goes through W instead of |W|."""
    centre, radius = state, jnp.broadcast_to(eps, state.shape)
    for weight, bias in layers[:-1]:
        centre, radius = weight @ centre + bias, jnp.abs(weight @ radius)
        ends = jnp.tanh(centre - radius), jnp.tanh(centre + radius)
        centre, radius = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    radius = jnp.abs(layers[-1][0] @ radius)
    return {"interval": Change(2 * jnp.linalg.norm(radius), 2 * jnp.sum(radius))}


@pytest.mark.parametrize("planted", [power_iteration_product, interval_without_absolute_value])
def test_the_fuzz_catches_a_planted_fault(planted):
    kind = {"norm": "linf", "activation": "tanh", "sizes": (2, 4, 3)}
    (found,) = violations(planted, jax.random.key(1), cases=500, **kind).values()
    assert found > 0


@pytest.mark.parametrize("bound", [bounds.interval_bound, bounds.crown_bound])
def test_span_of_equal_outputs_covers_the_rounding_of_each(bound):
    """`W_i - W_j` vanishes, the rounding of two computed outputs does not."""
    layers, state, _ = random_case(jax.random.key(5), (4, 16, 1))
    (hidden, (row, bias)) = layers
    twins = (hidden, (jnp.concatenate([row, row]), jnp.concatenate([bias, bias])))
    rounding = jax.jit(bounds.evaluation_error)(twins, state, 0.0).span
    assert jax.jit(bound)(twins, state, 0.0).span >= rounding / 4 > 0


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "norm", "sizes"), COMBINATIONS + OTHERS)
def test_no_attack_exceeds_a_bound_in_a_million_cases(activation, norm, sizes):
    found = violations(
        all_bounds, jax.random.key(9), cases=125_000, norm=norm, activation=activation, sizes=sizes
    )
    assert not any(found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "norm", "sizes"), WIDE)
def test_no_attack_exceeds_a_bound_of_a_network_of_usual_size(activation, norm, sizes):
    found = violations(
        all_bounds, jax.random.key(11), cases=10_000, norm=norm, activation=activation, sizes=sizes
    )
    assert not any(found.values()), found


def test_bounds_hold_in_float64_and_follow_the_dtype():
    with jax.enable_x64(True):
        layers, state, eps = random_case(jax.random.key(3), (3, 5, 3), jnp.float64)
        bounds = jax.jit(partial(all_bounds, norm="linf", activation="tanh"))(layers, state, eps)
        kind = {"norm": "linf", "activation": "tanh"}
        euclidean, span = largest_found(layers, state, eps, jax.random.key(4), **kind)
        for name, bound in bounds.items():
            assert bound.euclidean.dtype == jnp.float64, name
            assert bound.euclidean >= euclidean and bound.span >= span, name
