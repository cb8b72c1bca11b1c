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


# --- the worst transitions within a KL ball -----------------------------------------------------------------


def joint_dual(p, v, eps):
    """The largest of `-beta log E exp(-v / beta) - beta eps` over a fine grid of beta."""
    beta = np.geomspace(1e-6, 1e4, 200_000)[:, None]
    least = v[p > 0].min()
    return np.max(least - beta[:, 0] * (np.log(np.sum(p * np.exp(-(v - least) / beta), axis=1)) + eps))


@pytest.mark.parametrize("eps", [0.0, 0.01, 0.1, 1.0])
def test_the_worst_mean_is_the_best_of_its_dual(eps):
    rng = np.random.default_rng(0)
    for _ in range(5):
        p, v = rng.dirichlet(np.ones(4)), rng.normal(size=4)
        found = tabular.worst_mean(p, v, eps)
        assert found == pytest.approx(joint_dual(p, v, eps) if eps else p @ v, abs=1e-5)


def test_a_ball_that_holds_a_certain_next_state_has_its_value():
    p, v = np.array([0.5, 0.25, 0.25]), np.array([3.0, 1.0, 2.0])
    assert tabular.worst_mean(p, v, np.log(4) + 1e-3) == pytest.approx(1.0, abs=1e-4)
    assert tabular.worst_mean(p, v, np.log(4) - 0.1) > 1.01
    # what lacks to 1 is the end of the episode, whose value is 0
    assert tabular.worst_mean(0.5 * p, v, np.log(2) + 1e-3) == pytest.approx(0.0, abs=1e-4)


def test_two_next_states_by_hand():
    """q of the worse one, from p = 1/2 on, where `q log 2q + (1 - q) log 2(1 - q) = eps`."""
    q = 0.8
    eps = q * np.log(2 * q) + (1 - q) * np.log(2 * (1 - q))
    assert tabular.worst_mean(np.array([0.5, 0.5]), np.array([1.0, 0.0]), eps) == pytest.approx(0.2, abs=1e-8)


def test_kl_robust_values_solve_their_equation_and_fall_with_the_radius():
    mdp, policy = tabular.random_mdp(4, 2), random_policy(4, 2, seed=2)
    plain = tabular.policy_values(mdp, policy, DISCOUNT)
    np.testing.assert_allclose(tabular.kl_robust_values(mdp, policy, 0.0, DISCOUNT), plain, rtol=1e-6)
    values = tabular.kl_robust_values(mdp, policy, 0.2, DISCOUNT)
    worst = np.array([[joint_dual(p, values, 0.2) for p in rows] for rows in mdp.transition])
    again = np.sum(policy * (mdp.reward + DISCOUNT * worst), axis=1)
    np.testing.assert_allclose(values, again, rtol=1e-5)
    assert (values < plain).all()
