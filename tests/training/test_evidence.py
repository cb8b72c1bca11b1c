"""What scores are told of a batch, against loops and sums over all actions."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxprune.policy import agent as agents
from jaxprune.policy import kernels
from jaxprune.pruning import masks, score
from jaxprune.training import ppo
from jaxprune.training.batch import Batch
from jaxprune.training.evidence import curvature, evidence, fisher, hessian_gradient, inputs
from tests.training.populations import hyperparameters


def agent_of(discrete, hidden=(5, 4)):
    """An agent of 3 features and 2 actions whose outputs are not near 0, half of its weights removed."""
    agent = agents.init(jax.random.key(0), 3, 2, discrete=discrete, hidden=hidden, activation="tanh")
    policy = jax.tree.map(lambda leaf: leaf + 0.3, agent.policy)
    log_std = None if discrete else jnp.asarray([-0.5, 0.7])
    random = score("random").of(kernels(policy), jax.random.key(1))
    return agent.replace(policy=policy, log_std=log_std, mask=masks.lowest_removed(random, 0.4))


def batch_of(x):
    nothing = jnp.zeros(len(x))
    return Batch(x=x, action=nothing, log_prob=nothing, advantage=nothing, value_target=nothing)


X = jax.random.normal(jax.random.key(2), (300, 3))


def test_inputs_are_root_mean_squares_of_what_goes_into_a_layer():
    agent = agent_of(discrete=False)
    found, x = inputs(agent, batch_of(X)), np.asarray(X)
    for name, layer in agent.policy.items():
        for source in range(x.shape[1]):
            wanted = np.sqrt(np.mean(x[:, source] ** 2))
            np.testing.assert_allclose(found[name][source], wanted, rtol=1e-5)
        assert found[name].shape == layer["kernel"].shape
        x = np.tanh(
            x @ (np.asarray(layer["kernel"]) * np.asarray(agent.mask[name])) + np.asarray(layer["bias"])
        )


def squared_slopes(agent, x, action):
    """(d log pi(action | x) / d w)^2 at the masked weights."""
    pruned = agent.pruned()

    def log_prob(policy):
        return pruned.replace(policy=policy).distribution(x).log_prob(action)

    return jax.tree.map(jnp.square, kernels(jax.grad(log_prob)(pruned.policy)))


@pytest.mark.parametrize("discrete", [False, True])
def test_fisher_is_the_mean_over_states_and_actions_of_squared_slopes(discrete):
    agent, x = agent_of(discrete), X[:7]
    total = jax.tree.map(jnp.zeros_like, agent.mask)
    for state in x:
        pi = agent.pruned().distribution(state)
        if discrete:
            weighted = [(float(jnp.exp(pi.log_prob(jnp.int32(a)))), jnp.int32(a)) for a in range(2)]
        else:
            # The slope is linear in the action, so its square is averaged exactly over mean +- sigma.
            sigma = jnp.exp(agent.log_std)
            weighted = [
                (0.25, pi.mode() + jnp.asarray(signs) * sigma) for signs in product((-1, 1), repeat=2)
            ]
        for weight, action in weighted:
            slopes = squared_slopes(agent, state, action)
            total = jax.tree.map(lambda t, s, w=weight: t + w * s / len(x), total, slopes)
    for name, found in fisher(agent, batch_of(x)).items():
        np.testing.assert_allclose(found, total[name], rtol=2e-4, atol=1e-6)


def test_fisher_damage_is_the_divergence_that_removal_causes_in_a_linear_policy():
    agent = agent_of(discrete=False, hidden=()).replace(mask=None)
    weights = kernels(agent.policy)
    found = score("fisher").of(weights, jax.random.key(0), {"fisher": fisher(agent, batch_of(X))})["layer_0"]
    sigma = np.exp(np.asarray(agent.log_std))
    for source, target in np.ndindex(3, 2):
        # KL of two Gaussians of equal spread: half the squared distance of the means over sigma^2.
        moved = np.asarray(X)[:, source] * float(weights["layer_0"][source, target])
        np.testing.assert_allclose(
            found[source, target], np.mean((moved / sigma[target]) ** 2) / 2, rtol=1e-5
        )


def test_only_what_is_asked_for_is_computed():
    agent = agent_of(discrete=False)
    found = evidence(("inputs", "fisher"), agent, batch_of(X), hyperparameters())
    assert list(found) == ["inputs", "fisher"]
    assert evidence((), agent, batch_of(X), hyperparameters()) == {}


def symmetric(size, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    return (root + root.T) / 2


def test_grasp_on_a_quadratic_is_theta_times_h_squared_theta():
    h, theta = symmetric(6), np.random.default_rng(1).normal(size=6)

    def loss(weights):
        flat = weights["layer_0"].ravel()
        return flat @ jnp.asarray(h, jnp.float32) @ flat / 2

    weights = {"layer_0": jnp.asarray(theta.reshape(3, 2), jnp.float32)}
    np.testing.assert_allclose(jax.grad(loss)(weights)["layer_0"].ravel(), h @ theta, rtol=1e-5)
    changed = hessian_gradient(loss, weights)
    np.testing.assert_allclose(changed["layer_0"].ravel(), h @ h @ theta, rtol=1e-4)
    found = score("grasp").of(weights, jax.random.key(0), {"curvature": changed})["layer_0"].ravel()
    published = -theta * (h @ h @ theta)
    # The largest of the published ones go, as the lowest do here.
    assert np.argsort(found).tolist() == np.argsort(-published).tolist()
    # What it is for: half the squared gradient changes by that, to first order in the share removed.
    for i in range(6):
        less = theta.copy()
        less[i] *= 1 - 1e-6
        change = (np.sum((h @ less) ** 2) - np.sum((h @ theta) ** 2)) / 2 / 1e-6
        np.testing.assert_allclose(-found[i], change, rtol=1e-3, atol=1e-4)


def test_damage_is_exactly_what_a_diagonal_quadratic_at_its_minimum_rises_by():
    rng = np.random.default_rng(0)
    h, theta = rng.uniform(0.1, 3, 6), rng.normal(size=6)
    weights, diagonal = ({"layer_0": jnp.asarray(part[:, None], jnp.float32)} for part in (theta, h))
    found = score("fisher").of(weights, jax.random.key(0), {"fisher": diagonal})["layer_0"]
    for i in range(6):
        moved = np.where(np.arange(6) == i, 0.0, theta) - theta
        np.testing.assert_allclose(found[i, 0], moved @ np.diag(h) @ moved / 2, rtol=1e-5)


@pytest.mark.parametrize("discrete", [False, True])
def test_curvature_is_the_hessian_of_the_loss_times_its_gradient(discrete):
    agent, hyper = agent_of(discrete, hidden=(3,)), hyperparameters(entropy_weight=0.1)
    rng = np.random.default_rng(0)
    action = rng.integers(2, size=40) if discrete else rng.normal(size=(40, 2)).astype(np.float32)
    batch = Batch(
        x=X[:40],
        action=jnp.asarray(action),
        log_prob=jax.vmap(lambda x, a: agent.distribution(x).log_prob(a))(X[:40], jnp.asarray(action)) + 0.02,
        advantage=jnp.asarray(rng.normal(size=40), jnp.float32),
        value_target=jnp.zeros(40),
    )
    flat, unravel = ravel_pytree(kernels(agent.pruned().policy))

    def loss(flat):
        weights = unravel(flat)
        policy = {name: layer | {"kernel": weights[name]} for name, layer in agent.policy.items()}
        moved = ppo.trainable(agent.replace(policy=policy))
        return ppo.loss(moved, agent.replace(mask=None), batch, hyper)[0]

    wanted = unravel(jax.hessian(loss)(flat) @ jax.grad(loss)(flat))
    slopes = ppo.gradients(agent, batch, hyper)
    for name, found in curvature(agent, batch, hyper).items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-3, atol=1e-6)
        assert np.abs(found).max() > 1e-3
        np.testing.assert_allclose(unravel(jax.grad(loss)(flat))[name], slopes[name], rtol=1e-4, atol=1e-6)
