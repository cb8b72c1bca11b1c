"""Distances between policies against sampling, quadrature and the worst logits."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from jaxprune.bounds import (
    categorical_kl,
    categorical_kl_bound,
    categorical_tv,
    categorical_tv_bound,
    gaussian_kl,
    gaussian_tv,
)


def test_gaussian_distances_equal_their_integrals():
    for delta in (0.1, 1.0, 3.0):
        apart = quad(lambda x, d=delta: abs(norm.pdf(x) - norm.pdf(x - d)) / 2, -12, 15, limit=200)[0]
        np.testing.assert_allclose(gaussian_tv(jnp.float32(delta)), apart, rtol=1e-5)
        log_ratio = quad(lambda x, d=delta: norm.pdf(x) * (norm.logpdf(x) - norm.logpdf(x - d)), -12, 15)[0]
        np.testing.assert_allclose(gaussian_kl(jnp.float32(delta)), log_ratio, rtol=1e-5)


def test_categorical_distances_equal_their_sums():
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])
    np.testing.assert_allclose(categorical_tv(jnp.log(p), jnp.log(q)), 0.4, rtol=1e-5)
    np.testing.assert_allclose(categorical_kl(jnp.log(p), jnp.log(q)), np.sum(p * np.log(p / q)), rtol=1e-5)


def test_categorical_bounds_hold_and_the_one_on_tv_is_attained():
    keys = jax.random.split(jax.random.key(0))
    logits, change = (3 * jax.random.normal(key, (20_000, 3)) for key in keys)
    span = change.max(axis=1) - change.min(axis=1)
    assert np.all(jax.vmap(categorical_tv)(logits, logits + change) <= categorical_tv_bound(span))
    assert np.all(jax.vmap(categorical_kl)(logits, logits + change) <= categorical_kl_bound(span))
    worst = categorical_tv(jnp.array([-0.7, 0.7]), jnp.array([0.7, -0.7]))
    np.testing.assert_allclose(worst, categorical_tv_bound(jnp.float32(2.8)), rtol=1e-5)
