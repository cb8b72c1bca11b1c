"""Exact solutions against brute force and against played episodes."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make, tabular

DISCOUNT = 0.8


def deterministic(choices, actions):
    return np.eye(actions)[np.asarray(choices)]


def random_policy(states, actions, seed):
    return np.random.default_rng(seed).dirichlet(np.ones(actions), states)


def test_optimal_values_are_those_of_the_best_of_all_policies():
    mdp = tabular.random_mdp(states=4, actions=3, seed=1)
    every = [
        tabular.policy_values(mdp, deterministic(choices, 3), DISCOUNT)
        for choices in product(range(3), repeat=4)
    ]
    np.testing.assert_allclose(tabular.optimal_values(mdp, DISCOUNT), np.max(every, axis=0), rtol=1e-10)


def test_chain_values_are_powers_of_the_discount():
    np.testing.assert_allclose(
        tabular.optimal_values(tabular.chain(5), DISCOUNT), DISCOUNT ** np.arange(4, -1, -1.0), rtol=1e-10
    )


@pytest.mark.parametrize("seed", range(5))
def test_optimal_adversary_equals_brute_force(seed):
    states, actions = 5, 3
    mdp = tabular.random_mdp(states, actions, seed)
    policy = random_policy(states, actions, seed)
    neighbours = tabular.ring(states)
    shown, values = tabular.optimal_adversary(mdp, policy, neighbours, DISCOUNT)
    options = [np.flatnonzero(row) for row in neighbours]
    every = [
        tabular.policy_values(mdp, tabular.attacked(policy, np.array(choice)), DISCOUNT)
        for choice in product(*options)
    ]
    np.testing.assert_allclose(values, np.min(every, axis=0), rtol=1e-10)
    assert neighbours[np.arange(states), shown].all()
    assert (values <= tabular.policy_values(mdp, policy, DISCOUNT) + 1e-12).all()


@pytest.mark.parametrize(("task", "mdp"), [("tabular", tabular.random_mdp()), ("chain", tabular.chain())])
def test_played_episodes_earn_the_exact_value(task, mdp):
    env = make(f"probe/{task}", horizon=64)
    states, actions = mdp.reward.shape
    policy = random_policy(states, actions, seed=3)
    logits = jnp.log(jnp.asarray(policy, jnp.float32))

    def episode(key):
        def step(carry, key):
            state, weight = carry
            action = jax.random.categorical(key, logits[jnp.argmax(state.observation)])
            state, transition = env.step(state, action.astype(jnp.int32))
            return (state, weight * DISCOUNT * ~transition.terminated), weight * transition.reward

        reset_key, *keys = jax.random.split(key, 65)
        state = env.reset(reset_key)
        _, rewards = jax.lax.scan(step, (state, jnp.ones(())), jnp.stack(keys))
        return jnp.argmax(state.observation), rewards.sum()

    first, returns = jax.device_get(jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), 4000)))
    values = tabular.policy_values(mdp, policy, DISCOUNT)
    for state in range(states):
        sample = returns[first == state]
        assert abs(sample.mean() - values[state]) < 4 * sample.std() / np.sqrt(len(sample)) + 1e-6
