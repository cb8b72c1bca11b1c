"""No bound may lie below a distance that an attack reaches: fuzz over networks, masks, states and balls."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import certify
from jaxprune.certify import Change
from tests.certify.cases import largest_found, random_case

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
CASES = 20_000 // len(COMBINATIONS)
BATCH = 2_500

GLOBAL = (
    certify.frobenius_product,
    certify.induced_one_product,
    certify.induced_inf_product,
    certify.path_bound,
    certify.absolute_spectral_product,
    certify.spectral_product,
)
LOCAL = (certify.interval_bound, certify.jacobian_bound, certify.crown_bound)


def all_bounds(layers, state, eps, *, norm, activation):
    """Every bound of the room by name; those of the weights alone get what evaluation may add."""
    kind = {"norm": norm, "activation": activation}
    noise = jnp.linalg.norm(certify.evaluation_error(layers, state, activation=activation))
    bounds = {bound.__name__: bound(layers, state, eps, **kind) for bound in LOCAL}
    for bound in GLOBAL:
        euclidean, span = bound(layers, eps, **kind)
        bounds[bound.__name__] = Change(euclidean + 8 * noise, span + 8 * noise)
    return bounds


def searching_bounds(layers, state, eps, *, norm, activation):
    """The bounds that optimise or search, and ECLipsE, which does not know every activation."""
    kind = {"norm": norm, "activation": activation}
    noise = jnp.linalg.norm(certify.evaluation_error(layers, state, activation=activation))
    euclidean, span = certify.eclipse_bound(layers, eps, **kind)
    return {
        "alpha": certify.alpha_crown_bound(layers, state, eps, steps=3, **kind),
        "branching": certify.branching_bound(layers, state, eps, nodes=4, **kind),
        "eclipse": Change(euclidean + 8 * noise, span + 8 * noise),
    }


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

    keys = jax.random.split(key, (cases // min(cases, BATCH), min(cases, BATCH)))
    found = [exceeded(batch) for batch in keys]
    return {name: sum(int(np.sum(batch[name])) for batch in found) for name in found[0]}


@pytest.mark.parametrize(("activation", "norm", "sizes"), COMBINATIONS)
def test_no_attack_exceeds_a_bound(activation, norm, sizes):
    found = violations(
        all_bounds, jax.random.key(7), cases=CASES, norm=norm, activation=activation, sizes=sizes
    )
    assert not any(found.values()), found


@pytest.mark.parametrize(
    ("activation", "norm", "sizes"),
    [COMBINATIONS[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in COMBINATIONS[1:3])],
)
def test_no_attack_exceeds_a_bound_that_searches(activation, norm, sizes):
    kind = {"norm": norm, "activation": activation, "sizes": sizes}
    found = violations(searching_bounds, jax.random.key(8), cases=1_000, **kind)
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


@pytest.mark.parametrize("bound", [certify.interval_bound, certify.crown_bound])
def test_span_of_equal_outputs_covers_the_rounding_of_each(bound):
    """`W_i - W_j` vanishes, the rounding of two computed outputs does not."""
    layers, state, _ = random_case(jax.random.key(5), (4, 16, 1))
    (hidden, (row, bias)) = layers
    twins = (hidden, (jnp.concatenate([row, row]), jnp.concatenate([bias, bias])))
    noise = certify.evaluation_error(twins, state)
    assert bound(twins, state, 0.0).span >= jnp.sum(noise) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "norm", "sizes"), COMBINATIONS + OTHERS)
def test_no_attack_exceeds_a_bound_in_a_million_cases(activation, norm, sizes):
    found = violations(
        all_bounds, jax.random.key(9), cases=125_000, norm=norm, activation=activation, sizes=sizes
    )
    assert not any(found.values()), found


def test_bounds_hold_in_float64_and_follow_the_dtype():
    with jax.enable_x64(True):
        layers, state, eps = random_case(jax.random.key(3), (3, 6, 5, 3), jnp.float64)
        bounds = jax.jit(partial(all_bounds, norm="linf", activation="tanh"))(layers, state, eps)
        kind = {"norm": "linf", "activation": "tanh"}
        euclidean, span = largest_found(layers, state, eps, jax.random.key(4), **kind)
        for name, bound in bounds.items():
            assert bound.euclidean.dtype == jnp.float64, name
            assert bound.euclidean >= euclidean and bound.span >= span, name
