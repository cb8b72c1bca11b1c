"""What scores are told of a batch, against loops and sums over all actions."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.policy import agent as agents
from jaxprune.policy import kernels
from jaxprune.pruning import masks, score
from jaxprune.training.batch import Batch
from jaxprune.training.evidence import evidence, fisher, inputs
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
