"""The observation filter knows the mean and variance of everything it has seen, however much that is."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprune.policy import Normalizer, normalizer
from jaxprune.policy.normalizer import CLIP

FEATURES = 3


def fed(batches):
    seen = normalizer.init(batches[0].shape[1:])
    for batch in batches:
        seen = normalizer.update(seen, jnp.asarray(batch, jnp.float32))
    return seen


def assert_statistics_of(seen, data, rtol=1e-4):
    """Mean (up to rtol standard deviations) and variance are NumPy's over all of the data."""
    data = np.asarray(data, np.float64)
    assert np.all(np.abs(seen.mean - data.mean(0)) <= rtol * data.std(0) + 1e-6 * np.abs(data.mean(0)))
    np.testing.assert_allclose(seen.variance, data.var(0), rtol=rtol)
    assert seen.count == len(data)


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 7, 40]), min_size=1, max_size=5),
    offset=st.floats(-100, 100),
    scale=st.floats(0.01, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_batches_give_the_statistics_of_their_concatenation(sizes, offset, scale, seed):
    rng = np.random.default_rng(seed)
    batches = [rng.normal(offset, scale, (size, FEATURES)).astype(np.float32) for size in [*sizes, 40]]
    seen, data = fed(batches), np.concatenate(batches).astype(np.float64)
    np.testing.assert_allclose(seen.mean, data.mean(0), atol=1e-5 * scale + 1e-6 * abs(offset))
    np.testing.assert_allclose(np.sqrt(seen.variance), data.std(0), rtol=1e-4, atol=1e-6 * abs(offset))
    assert seen.count == len(data)


def test_scalars_are_filtered_too():
    data = np.random.default_rng(0).normal(2.0, 3.0, 100).astype(np.float32)
    assert_statistics_of(fed([data[:30], data[30:]]), data)


def test_a_far_offset_does_not_drown_the_variance():
    # The mean of squares would need 1e8 + 1 in float32, which ends at seven digits.
    data = np.random.default_rng(0).normal(1e4, 1.0, (4000, FEATURES)).astype(np.float32)
    seen = fed(np.split(data, 8))
    np.testing.assert_allclose(seen.variance, data.astype(np.float64).var(0), rtol=0.01)


def test_after_a_billion_samples_a_batch_still_counts_by_its_share():
    before = Normalizer(jnp.zeros(1), jnp.ones(1), jnp.float32(1e9))
    after = normalizer.update(before, jnp.full((100_000, 1), 50.0))
    share = 1e5 / (1e9 + 1e5)
    np.testing.assert_allclose(after.mean, share * 50.0, rtol=1e-4)
    np.testing.assert_allclose(after.variance, (1 - share) + share * (1 - share) * 50.0**2, rtol=1e-5)
    np.testing.assert_allclose(after.count, 1e9 + 1e5, rtol=1e-6)


def test_a_hundred_million_samples_leave_no_drift():
    batch = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, (500, FEATURES)), jnp.float32)
    run = jax.jit(lambda n: jax.lax.fori_loop(0, 200_000, lambda _, n: normalizer.update(n, batch), n))
    seen = run(normalizer.init((FEATURES,)))
    np.testing.assert_allclose(seen.mean, np.asarray(batch).mean(0), rtol=1e-5)
    np.testing.assert_allclose(seen.variance, np.asarray(batch).var(0), rtol=1e-3)


def test_nothing_seen_is_the_identity_up_to_the_clip():
    x = jnp.asarray([-11.0, 0.5, 9.0])
    found = normalizer.normalise(normalizer.init((FEATURES,)), x)
    np.testing.assert_allclose(found, [-CLIP, 0.5, 9.0], rtol=1e-6)


def test_normalised_data_has_mean_zero_and_variance_one():
    data = np.random.default_rng(0).normal(5.0, 0.1, (1000, FEATURES)).astype(np.float32)
    x = jax.vmap(lambda s: normalizer.normalise(fed([data]), s))(jnp.asarray(data))
    np.testing.assert_allclose(np.mean(x, 0), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.var(x, 0), 1.0, rtol=1e-4)


def test_normalised_observations_are_clipped_at_ten_standard_deviations():
    seen = Normalizer(jnp.zeros(4), jnp.full(4, 4.0), jnp.float32(10.0))
    found = normalizer.normalise(seen, jnp.asarray([-21.0, -19.0, 19.0, 1e30]))
    np.testing.assert_allclose(found, [-10.0, -9.5, 9.5, 10.0], rtol=1e-6)


def test_a_feature_that_is_always_zero_stays_zero():
    seen = fed([np.zeros((16, FEATURES))] * 3)
    np.testing.assert_array_equal(normalizer.normalise(seen, jnp.zeros(FEATURES)), 0.0)


def test_a_constant_feature_stays_within_a_standard_deviation_of_zero():
    # The float32 mean of a constant may miss it by a rounding; the filter must not blow that up.
    constant = np.float32([0.1, 1234.567, -3.3e-5])
    seen = fed([np.tile(constant, (2048, 1))] * 20)
    found = np.asarray(normalizer.normalise(seen, jnp.asarray(constant)))
    assert np.all(np.abs(found) <= 1.0)
