"""The action distributions agree with SciPy's and with their own samples."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from jaxprune.policy import Categorical, Gaussian

SAMPLES = 40_000

quick = settings(max_examples=25, deadline=None)
vectors = arrays(np.float32, 3, elements=st.floats(-3, 3, width=32))
log_stds = arrays(np.float32, 3, elements=st.floats(-2, 1, width=32))


def gaussian(mean, log_std):
    return Gaussian(jnp.asarray(mean), jnp.asarray(log_std))


def categorical(logits):
    return Categorical(jnp.asarray(logits))


def probabilities(logits):
    p = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return p / p.sum()


def samples(distribution, count=SAMPLES):
    return np.asarray(jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), count)))


def assert_mean(values, wanted):
    """The mean is the wanted one within five standard errors."""
    error = values.std(axis=0) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(axis=0) - wanted) < 5 * error + 1e-6)


P = gaussian(np.float32([0.5, -1.0, 2.0]), np.float32([-1.0, 0.0, 0.5]))
Q = gaussian(np.float32([0.0, -0.5, 1.0]), np.float32([0.0, 0.3, -0.2]))
LOGITS = np.float32([0.3, -1.2, 1.0, 0.0])
OTHER_LOGITS = np.float32([1.0, 0.5, -0.5, 0.0])


@quick
@given(mean=vectors, log_std=log_stds, action=vectors)
def test_gaussian_log_prob_is_scipys(mean, log_std, action):
    found = gaussian(mean, log_std).log_prob(jnp.asarray(action))
    wanted = stats.norm.logpdf(action, mean, np.exp(log_std.astype(np.float64))).sum()
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@quick
@given(mean=vectors, log_std=log_stds)
def test_gaussian_entropy_is_scipys(mean, log_std):
    wanted = stats.norm.entropy(mean, np.exp(log_std.astype(np.float64))).sum()
    np.testing.assert_allclose(gaussian(mean, log_std).entropy(), wanted, rtol=1e-5, atol=1e-5)


@quick
@given(mean=vectors, log_std=log_stds, other_mean=vectors, other_log_std=log_stds)
def test_gaussian_kl_is_the_integral_of_the_log_ratio(mean, log_std, other_mean, other_log_std):
    # E_p[log p - log q]: the Gauss-Hermite rule of order 8 is exact for this polynomial.
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    std, other_std = np.exp(log_std.astype(np.float64)), np.exp(other_log_std.astype(np.float64))
    x = mean + std * nodes[:, None]
    log_ratio = stats.norm.logpdf(x, mean, std) - stats.norm.logpdf(x, other_mean, other_std)
    wanted = (weights @ log_ratio / weights.sum()).sum()
    found = gaussian(mean, log_std).kl(gaussian(other_mean, other_log_std))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_gaussian_kl_is_the_mean_log_ratio_of_its_samples():
    log_ratios = jax.vmap(lambda a: P.log_prob(a) - Q.log_prob(a))(samples(P))
    assert_mean(np.asarray(log_ratios), P.kl(Q))


def test_gaussian_kl_to_itself_is_zero_and_it_is_not_symmetric():
    assert P.kl(P) == 0.0
    assert abs(P.kl(Q) - Q.kl(P)) > 0.1


def test_gaussian_samples_have_its_mean():
    assert_mean(samples(P), np.asarray(P.mean))


def test_gaussian_samples_have_its_variance_and_are_uncorrelated():
    z = (samples(P) - np.asarray(P.mean)) / np.exp(np.asarray(P.log_std))
    assert_mean(z[:, :, None] * z[:, None, :], np.eye(3))


def test_gaussian_samples_are_normal():
    z = (samples(P) - np.asarray(P.mean)) / np.exp(np.asarray(P.log_std))
    assert min(stats.kstest(column, "norm").pvalue for column in z.T) > 1e-3


def test_no_action_is_more_likely_than_the_gaussian_mode():
    log_prob = jax.vmap(P.log_prob)(samples(P, 1000))
    assert np.all(log_prob <= P.log_prob(P.mode()))


@quick
@given(logits=vectors)
def test_categorical_log_prob_is_the_log_of_the_softmax(logits):
    found = [categorical(logits).log_prob(jnp.asarray(a)) for a in range(3)]
    np.testing.assert_allclose(found, np.log(probabilities(logits)), rtol=1e-5, atol=1e-6)


@quick
@given(logits=vectors)
def test_categorical_entropy_is_scipys(logits):
    wanted = stats.entropy(probabilities(logits))
    np.testing.assert_allclose(categorical(logits).entropy(), wanted, rtol=1e-5, atol=1e-6)


@quick
@given(logits=vectors, other=vectors)
def test_categorical_kl_is_scipys(logits, other):
    wanted = stats.entropy(probabilities(logits), probabilities(other))
    np.testing.assert_allclose(categorical(logits).kl(categorical(other)), wanted, rtol=1e-4, atol=2e-6)


def test_categorical_kl_is_the_mean_log_ratio_of_its_samples():
    p, q = categorical(LOGITS), categorical(OTHER_LOGITS)
    log_ratios = jax.vmap(lambda a: p.log_prob(a) - q.log_prob(a))(samples(p))
    assert_mean(np.asarray(log_ratios), p.kl(q))


def test_categorical_entropy_is_the_mean_surprise_of_its_samples():
    p = categorical(LOGITS)
    assert_mean(-np.asarray(jax.vmap(p.log_prob)(samples(p))), p.entropy())


def test_categorical_samples_have_its_frequencies():
    counts = np.bincount(samples(categorical(LOGITS)), minlength=4)
    assert stats.chisquare(counts, SAMPLES * probabilities(LOGITS)).pvalue > 1e-3


def test_the_categorical_mode_is_the_first_of_the_largest_logits():
    assert categorical(np.float32([0.0, 2.0, 2.0, -1.0])).mode() == 1


def test_the_most_lopsided_logits_give_finite_numbers():
    p, q = categorical(np.float32([1e4, 0.0, -1e4])), categorical(np.float32([0.0, 0.0, 0.0]))
    assert p.entropy() == 0.0
    np.testing.assert_allclose(p.kl(q), np.log(3), rtol=1e-6)


def test_sampling_is_reproducible():
    for distribution in (P, categorical(LOGITS)):
        np.testing.assert_array_equal(samples(distribution, 10), samples(distribution, 10))
