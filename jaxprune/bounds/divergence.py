"""Distances between two policies at one observation: exact values, and the bounds a `Change` turns into."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxprune.bounds.rounding import outward


def gaussian_tv(delta: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Total variation of two Gaussians of one covariance, exact: `erf(delta / (2 sqrt 2))`, in [0, 1].

    `delta = ||Sigma^{-1/2} (mu - mu_hat)||_2`. It grows with delta, so a bound on delta gives a bound on TV.
    """
    return jax.lax.erf(delta / (2 * jnp.sqrt(2.0).astype(delta.dtype)))


def gaussian_kl(delta: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Kullback-Leibler divergence of two Gaussians of one covariance, exact: `delta^2 / 2`, in nats."""
    return delta**2 / 2


def categorical_tv(logits: Float[Array, " act"], other: Float[Array, " act"]) -> Float[Array, ""]:
    """Total variation of two softmax policies, exact: half the l1 distance of their probabilities."""
    return jnp.sum(jnp.abs(jax.nn.softmax(logits) - jax.nn.softmax(other))) / 2


def categorical_kl(logits: Float[Array, " act"], other: Float[Array, " act"]) -> Float[Array, ""]:
    """Kullback-Leibler divergence `sum_a p_a (log p_a - log q_a)` of two softmax policies, exact, in nats."""
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q))


def categorical_tv_bound(span: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Bound on the total variation of two softmax policies: `tanh(span / 4)`, attained by some logits.

    `span = max D - min D` with `D` the difference of their logits.
    """
    return outward(jnp.tanh(span / 4), 8)


def categorical_kl_bound(span: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Bound on the divergence of two softmax policies, in nats: `span^2 / 8`.

    `KL(p || q) = log E_p[exp(D)] - E_p[D]`, and Hoeffding's lemma bounds that for a `D` of this span.
    """
    return outward(span**2 / 8, 2)


def categorical_shift_bound(span: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Bound on the Gaussian shift, in standard deviations, that tells as much as one of the logits.

    Logits whose difference has this span make likelihood ratios in some [exp(-u), exp(span - u)]. Of such
    pairs of policies those of two actions whose log-odds differ by `span` are the easiest to tell apart:
    their ratio takes the two extreme values only. And such a pair is what a threshold makes of two Gaussians
    that are `Phi^{-1}(q) - Phi^{-1}(p)` apart, which is at most `2 Phi^{-1}(1 / (1 + exp(-span / 2)))`, and
    so at most `sqrt(pi / 8) span`: the value returned, attained in the limit of small spans.

    A certificate for Gaussian shifts, which add up in squares, so holds for a softmax policy with this shift.

    Reference: Dong, Durfee and Rogers, Optimal Differential Privacy Composition for Exponential Mechanisms,
    ICML 2020 (bounded range); Dong, Roth and Su, Gaussian Differential Privacy, JRSS-B 2022.
    """
    return outward(jnp.sqrt(jnp.pi / 8).astype(span.dtype) * span, 3)
