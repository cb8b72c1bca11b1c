"""The probes' best returns are what their formulas say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make, probes

EPISODES = 64
RIVALS = jax.random.split(jax.random.key(1), 20)


def play(env, policy, attack=jnp.zeros_like):
    """[episode] returns of a deterministic policy, and the first observations."""

    def episode(key):
        def step(carry, _):
            state, alive = carry
            state, transition = env.step(state, policy(state.observation + attack(state.observation)))
            return (state, alive * ~transition.terminated), alive * transition.reward

        start = env.reset(key)
        _, rewards = jax.lax.scan(step, (start, jnp.ones(())), length=env.horizon)
        return rewards.sum(), start.observation

    return jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), EPISODES))


def test_linear_policy_reaches_the_optimum():
    returns, _ = play(make("probe/linear"), probes.linear_policy)
    np.testing.assert_allclose(returns, probes.linear_return(0.0), rtol=1e-5)


@pytest.mark.parametrize("eps", [0.1, 0.3])
def test_linear_attack_reaches_its_formula_and_no_random_attack_beats_it(eps):
    env = make("probe/linear")

    def rival(key):
        matrix = 10 * jax.random.normal(key, (4, 4))
        return play(env, probes.linear_policy, lambda o: eps * jnp.tanh(matrix @ o))[0]

    returns, _ = play(env, probes.linear_policy, lambda o: probes.linear_attack(o, eps))
    np.testing.assert_allclose(returns, probes.linear_return(eps), rtol=1e-5)
    assert (jax.vmap(rival)(RIVALS) >= returns - 1e-4).all()


def test_no_random_linear_policy_beats_the_linear_optimum():
    env = make("probe/linear")

    def rival(key):
        gain = jax.random.normal(key, (1, 4))
        return play(env, lambda o: gain @ o)[0]

    returns, best = jax.vmap(rival)(RIVALS), probes.linear_return(0.0)
    assert (returns <= best + 1e-4).all()
    assert (returns.mean(axis=1) < 0.95 * best).all()


def test_categorical_policy_reaches_the_optimum_and_others_do_not():
    env = make("probe/categorical")

    def rival(key):
        matrix = jax.random.normal(key, (3, 3))
        return play(env, lambda o: jnp.argmax(matrix @ o))[0]

    returns, _ = play(env, probes.categorical_policy)
    np.testing.assert_array_equal(returns, probes.HORIZON)
    assert (jax.vmap(rival)(RIVALS).mean(axis=1) < probes.HORIZON).all()


@pytest.mark.parametrize("eps", [0.1, 0.5])
def test_categorical_attack_reaches_its_formula(eps):
    returns, first = play(
        make("probe/categorical"), probes.categorical_policy, lambda o: probes.categorical_attack(o, eps)
    )
    expected = jax.vmap(lambda o: probes.categorical_return(o, eps))(first)
    np.testing.assert_array_equal(returns, expected)
    assert 0 < (expected == 0).sum() < EPISODES


@pytest.mark.parametrize("task", ["probe/linear", "probe/categorical", "probe/tabular", "probe/chain"])
def test_probes_are_truncated_at_their_horizon(task):
    env = make(task, horizon=2)
    state = env.reset(jax.random.key(0))
    for time in (1, 2):
        right = {
            "probe/linear": probes.linear_policy,
            "probe/categorical": probes.categorical_policy,
        }.get(task, lambda observation: jnp.zeros((), jnp.int32))
        state, transition = env.step(state, right(state.observation))
        assert transition.truncated == (time == 2)


def test_a_nan_action_fails():
    env = make("probe/linear")
    state = env.reset(jax.random.key(0))
    stepped, transition = env.step(state, jnp.array([jnp.nan]))
    assert transition.failed and transition.reward == 0.0
    np.testing.assert_array_equal(stepped.observation, state.observation)
