"""What the table claims of each activation, against dense sampling in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from jaxprune import bounds, policy
from jaxprune.bounds.activations import CERTIFIABLE, enclose
from jaxprune.bounds.rounding import ACTIVATION_ULPS
from jaxprune.errors import SpecError

EXACT = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "swish": lambda z: z * expit(z),
}


@pytest.mark.parametrize("name", sorted(CERTIFIABLE))
def test_computed_values_are_within_the_units_promised(name):
    z = np.concatenate([np.linspace(-30, 30, 200_001), np.geomspace(1e-9, 30, 50_000)]).astype(np.float32)
    exact = EXACT[name](z.astype(np.float64))
    computed = np.asarray(jax.jit(CERTIFIABLE[name].function)(z), np.float64)
    assert np.all(np.abs(computed - exact) <= ACTIVATION_ULPS / 2 * np.finfo(np.float32).eps * np.abs(exact))


def test_the_tangent_through_an_end_of_tanh_touches_it_on_the_other_side():
    """In float32, for ends from nearly 0 to where tanh is flat; a constant for the gradient, 0 included."""
    ends = np.geomspace(1e-3, 50, 200)

    def beyond(d, end):
        return (1 - np.tanh(d) ** 2) * (d + end) - np.tanh(d) - np.tanh(end)

    def touching(ends):
        return jnp.stack(CERTIFIABLE["tanh"].extra_slopes(-ends, ends))

    exact = [1 - np.tanh(brentq(beyond, 0, end, args=(end,), xtol=1e-14)) ** 2 for end in ends]
    given = jnp.asarray([0.0, 1e-6, *ends], jnp.float32)
    for slopes in touching(given):
        np.testing.assert_allclose(slopes, [1, 1, *exact], atol=5e-6)
    assert (jax.grad(lambda ends: touching(ends).sum())(given) == 0).all()


@pytest.mark.parametrize("name", sorted(CERTIFIABLE))
def test_lines_of_any_slope_enclose_the_function_closely(name):
    rng = np.random.default_rng(0)
    lower = rng.normal(0, 3, 2000)
    upper = lower + rng.exponential(2, 2000)
    slope = rng.uniform(-0.5, 1.5, 2000)
    z = lower + (upper - lower) * np.linspace(0, 1, 801)[:, None]
    gap = EXACT[name](z) - slope * z
    arrays = (jnp.asarray(values, jnp.float32) for values in (slope, lower, upper))
    low, high = enclose(CERTIFIABLE[name], *arrays)
    assert np.all(low <= gap.min(axis=0) + 1e-5) and np.all(high >= gap.max(axis=0) - 1e-5)
    loose = 1e-4 + (2e-3 * (upper - lower) ** 2 / 4 if name == "swish" else 2e-3 * (upper - lower))
    assert np.all(low >= gap.min(axis=0) - loose) and np.all(high <= gap.max(axis=0) + loose)


@pytest.mark.parametrize("name", sorted(CERTIFIABLE))
def test_slopes_stay_in_their_range(name):
    rng = np.random.default_rng(1)
    lower = rng.normal(0, 3, 1000).astype(np.float32)
    upper = lower + rng.exponential(2, 1000).astype(np.float32)
    activation = CERTIFIABLE[name]
    z = lower + (upper - lower) * np.linspace(0, 1, 101, dtype=np.float32)[:, None]
    slopes = np.asarray(jax.vmap(jax.vmap(jax.grad(activation.function)))(z))
    least, steepest = activation.slope_range(jnp.asarray(lower), jnp.asarray(upper))
    assert np.all(slopes >= least - 1e-5) and np.all(slopes <= steepest + 1e-5)
    # The range is that of the interval and not of all numbers; of swish, what its curvature allows.
    loose = 0.5 * (upper - lower) if name == "swish" else 0.02
    assert np.all(least >= slopes.min(axis=0) - loose) and np.all(steepest <= slopes.max(axis=0) + loose)
    assert np.all(least >= activation.slopes[0] - 1e-6) and np.all(steepest <= activation.slopes[1] + 1e-6)


def test_an_activation_without_a_slope_bound_is_refused_by_name():
    with pytest.raises(SpecError, match=r"'softsign'.*elu, relu, swish, tanh"):
        bounds.forward(((jnp.ones((1, 1)), jnp.ones(1)),), jnp.ones(1), activation="softsign")


def test_the_functions_are_those_of_the_policies():
    assert all(policy.ACTIVATIONS[name] is known.function for name, known in CERTIFIABLE.items())


def test_eclipse_refuses_slopes_outside_the_unit_interval():
    with pytest.raises(SpecError, match=r"'swish'.*spectral_product"):
        bounds.eclipse_bound(((jnp.ones((1, 1)), jnp.ones(1)),), 0.1, activation="swish")


def test_weights_that_are_not_finite_are_named():
    good = (jnp.ones((2, 2)), jnp.ones(2))
    bad = (jnp.ones((2, 2)).at[0, 1].set(jnp.nan), jnp.ones(2))
    bounds.check_finite((good, good))
    with pytest.raises(SpecError, match=r"layers\[1\].weight: 1 of 4 values"):
        bounds.check_finite((good, bad))
    with pytest.raises(SpecError, match=r"layers\[0\].bias: 2 of 2 values"):
        bounds.check_finite(((jnp.ones((2, 2)), jnp.full(2, jnp.inf)), good))


@pytest.mark.parametrize(
    ("norm", "eps", "words"), [("l3", 0.1, "norm: .*'l3'"), ("l2", jnp.ones(2), "one radius")]
)
def test_a_ball_that_does_not_exist_is_refused(norm, eps, words):
    with pytest.raises(SpecError, match=words):
        bounds.interval_bound(((jnp.ones((1, 2)), jnp.ones(1)),), jnp.ones(2), eps, norm=norm)
