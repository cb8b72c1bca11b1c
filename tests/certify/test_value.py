"""From distances to return: tabular SA-MDPs with the exactly optimal adversary, and the statistics."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.certify import discounted_value_gap, horizon_value_gap, mean_upper_limit
from jaxprune.errors import SpecError

STATES, ACTIONS, HORIZON = 5, 3, 6


def random_task(rng, discount):
    """Transitions [s, a, s'], rewards [s, a], policy [s, a], and which states may be shown for which."""
    transitions = rng.dirichlet(np.full(STATES, 0.3), size=(STATES, ACTIONS))
    rewards = rng.uniform(-1, 2, size=(STATES, ACTIONS))
    policy = rng.dirichlet(np.full(ACTIONS, 0.5), size=STATES)
    shown = (rng.random((STATES, STATES)) < 0.4) | np.eye(STATES, dtype=bool)
    start = rng.dirichlet(np.ones(STATES))
    return transitions, rewards, policy, shown, start


def distances(policy, shown):
    """Largest TV between the policy at a state and at a state that may be shown for it."""
    tv = np.abs(policy[:, None] - policy[None, :]).sum(axis=-1) / 2
    return np.where(shown, tv, 0).max(axis=1)


def backup(value, task, discount, worst):
    """One step of evaluation: the adversary shows the state that is worst, or the true one."""
    transitions, rewards, policy, shown, _ = task
    action_values = rewards + discount * transitions @ value
    of_shown = action_values @ policy.T  # [s, shown state]
    return np.where(shown, of_shown, np.inf).min(axis=1) if worst else np.diag(of_shown)


@pytest.mark.parametrize("discount", [0.3, 0.8, 0.95])
def test_the_optimal_adversary_never_takes_more_than_the_discounted_bound(discount):
    rng = np.random.default_rng(int(100 * discount))
    tightest = np.inf
    for _ in range(100):
        task = random_task(rng, discount)
        transitions, rewards, policy, shown, start = task
        clean, attacked = np.zeros(STATES), np.zeros(STATES)
        for _ in range(int(40 / (1 - discount))):
            clean, attacked = backup(clean, task, discount, False), backup(attacked, task, discount, True)
        kernel = np.einsum("sa,sat->st", policy, transitions)
        visits = np.linalg.solve(np.eye(STATES) - discount * kernel.T, start) * (1 - discount)
        expected = visits @ distances(policy, shown)
        bound = (rewards.max() - rewards.min()) / (1 - discount) ** 2 * expected
        loss = start @ (clean - attacked)
        assert loss <= bound + 1e-9
        tightest = min(tightest, bound / max(loss, 1e-12))
    assert tightest < 100


def test_the_optimal_adversary_never_takes_more_than_the_horizon_bound():
    rng = np.random.default_rng(5)
    for _ in range(100):
        task = random_task(rng, 1.0)
        transitions, rewards, policy, shown, start = task
        clean, attacked = np.zeros(STATES), np.zeros(STATES)
        for _ in range(HORIZON):
            clean, attacked = backup(clean, task, 1.0, False), backup(attacked, task, 1.0, True)
        kernel = np.einsum("sa,sat->st", policy, transitions)
        tv, visits, bound = distances(policy, shown), start, 0.0
        for step in range(HORIZON):
            bound += (HORIZON - step) * (rewards.max() - rewards.min()) * visits @ tv
            visits = visits @ kernel
        assert start @ (clean - attacked) <= bound + 1e-9


def test_discounted_bound_of_a_constant_distance():
    tv, length = jnp.full((400, 2000), 0.2), jnp.full(400, 2000)
    kind = {"discount": 0.9, "reward_low": -1.0, "reward_high": 1.0, "terminated": jnp.zeros(400, bool)}
    gap = discounted_value_gap(tv, length, **kind)
    bernstein = 7 * np.log(4 / 0.05) / (3 * 399)
    np.testing.assert_allclose(gap.bound, 2 / 0.01 * (0.2 + bernstein), rtol=1e-3)
    assert gap.vacuous and not discounted_value_gap(tv / 20, length, **kind).vacuous


def test_a_cut_episode_pays_for_what_was_not_seen_and_a_terminated_one_does_not():
    tv, length = jnp.zeros((300, 5)), jnp.full(300, 5)
    kind = {"discount": 0.5, "reward_low": -1.0, "reward_high": 1.0}
    cut = discounted_value_gap(tv, length, terminated=jnp.zeros(300, bool), **kind).bound
    ended = discounted_value_gap(tv, length, terminated=jnp.ones(300, bool), **kind).bound
    np.testing.assert_allclose(cut - ended, 2 / 0.25 * 0.5**5, rtol=1e-4)


def test_termination_widens_the_rewards_to_zero():
    tv, length = jnp.full((50, 4), 0.1), jnp.full(50, 4)
    full = horizon_value_gap(tv, length, reward_low=1.0, reward_high=2.0).bound
    ended = horizon_value_gap(tv, length.at[0].set(3), reward_low=1.0, reward_high=2.0).bound
    assert 1.9 < ended / full < 2


def test_horizon_bound_weighs_steps_by_what_is_left():
    tv = jnp.zeros((5000, 4)).at[:, 0].set(0.5)
    gap = horizon_value_gap(tv, jnp.full(5000, 4), reward_low=0.0, reward_high=1.0)
    np.testing.assert_allclose(gap.bound, 10 * (0.5 * 0.4 + 7 * np.log(80) / (3 * 4999)), rtol=1e-3)
    assert not gap.vacuous


def test_confidence_limit_covers_the_mean_as_often_as_promised():
    rng = np.random.default_rng(0)
    samples = jnp.asarray(rng.beta(0.2, 3, size=(400, 60)), jnp.float32)
    limits = np.array([mean_upper_limit(row, 0.9) for row in samples])
    assert np.mean(limits >= 0.2 / 3.2) >= 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"discount": 1.0}, "discount: got 1.0"),
        ({"confidence": 1.0}, "confidence: got 1.0"),
        ({"reward_low": 3.0}, "reward_low, reward_high: got 3.0 and 1.0"),
    ],
)
def test_errors_name_the_argument(change, words):
    kind = {"discount": 0.9, "reward_low": 0.0, "reward_high": 1.0} | change
    with pytest.raises(SpecError, match=words):
        discounted_value_gap(jnp.zeros((3, 2)), jnp.full(3, 2), terminated=jnp.zeros(3, bool), **kind)


@pytest.mark.parametrize(("confidence", "needed"), [(0.9, 2), (0.99, 3), (1 - 1e-9, 11)])
def test_too_few_episodes_are_refused_and_enough_say_something(confidence, needed):
    with pytest.raises(SpecError, match=f"episodes: got {needed - 1}, .* at least {needed} "):
        mean_upper_limit(jnp.zeros(needed - 1), confidence)
    assert mean_upper_limit(jnp.zeros(needed), confidence) < 1
