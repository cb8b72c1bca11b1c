"""From distances to return: tabular SA-MDPs with the exactly optimal adversary, and the statistics."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.bounds import discounted_value_gap, expected_tv_limit, horizon_value_gap, mean_upper_limit
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
    kind = {"discount": 0.9, "reward_low": -1.0, "reward_high": 1.0, "horizon": 2000, "terminates": True}
    gap = discounted_value_gap(tv, length, **kind)
    bernstein = 7 * np.log(4 / 0.05) / (3 * 399)
    np.testing.assert_allclose(gap.bound, 2 / 0.01 * (0.2 + bernstein), rtol=1e-3)
    assert gap.vacuous and not discounted_value_gap(tv / 20, length, **kind).vacuous


def test_what_was_not_seen_is_paid_for_and_an_end_before_the_horizon_is_not():
    tv = jnp.zeros((300, 5))
    kind = {"discount": 0.5, "reward_low": -1.0, "reward_high": 1.0, "terminates": True}

    def bound(length, **change):
        return discounted_value_gap(tv, jnp.full(300, length), **kind | {"horizon": 5} | change).bound

    np.testing.assert_allclose(bound(5) - bound(4), 2 / 0.25 * 0.5**5, rtol=1e-4)
    # A recording that stops before the horizon shows no end either, and a task without end has none.
    np.testing.assert_allclose(bound(5, horizon=9), bound(5), rtol=1e-6)
    np.testing.assert_allclose(bound(4, terminates=False) - bound(4), 2 / 0.25 * 0.5**4, rtol=1e-4)
    # What cannot be seen differs by no more than any state does.
    np.testing.assert_allclose(bound(5, most=0.1) - bound(4, most=0.1), 0.1 * 2 / 0.25 * 0.5**5, rtol=1e-4)


def test_the_horizon_is_that_of_the_task_and_not_the_longest_episode():
    """Three steps are recorded of a task of ten: weights 10, 9, 8 of 55, and 28 for what lies beyond."""
    tv, many = jnp.full((40_000, 3), 0.1), jnp.ones(40_000, int)
    kind = {"reward_low": 0.0, "reward_high": 1.0, "terminates": True}
    ended = horizon_value_gap(tv, 2 * many, horizon=10, **kind).bound
    went_on = horizon_value_gap(tv, 3 * many, horizon=10, **kind).bound
    confidence = 55 * 7 * np.log(80) / (3 * 39_999)
    np.testing.assert_allclose(ended, 0.1 * 19 + confidence, rtol=1e-4)
    np.testing.assert_allclose(went_on, 0.1 * 27 + 28 + confidence, rtol=1e-4)
    at_most = horizon_value_gap(tv, 3 * many, horizon=10, most=0.1, **kind).bound
    np.testing.assert_allclose(at_most, 0.1 * 55, rtol=1e-4)


def test_a_task_that_can_terminate_has_rewards_of_zero_whether_or_not_it_did():
    tv, length = jnp.full((50, 4), 0.1), jnp.full(50, 4)
    kind = {"reward_low": 1.0, "reward_high": 2.0, "horizon": 4}
    endless = horizon_value_gap(tv, length, terminates=False, **kind)
    ending = horizon_value_gap(tv, length, terminates=True, **kind)
    np.testing.assert_allclose(ending.bound / endless.bound, 2, rtol=1e-6)
    endless, ending = (
        discounted_value_gap(tv, length, discount=0.9, terminates=terminates, **kind).bound
        for terminates in (False, True)
    )
    np.testing.assert_allclose(ending / endless, 2, rtol=1e-6)


def test_the_confidence_term_alone_makes_no_gap_vacuous():
    """Five episodes say little about numbers in [0, 1], and much about numbers in [0, 1e-4]."""
    tv, length = jnp.full((5, 8), 1e-5), jnp.full(5, 8)
    kind = {"reward_low": 0.0, "reward_high": 1.0, "horizon": 8, "terminates": False}
    assert horizon_value_gap(tv, length, **kind).vacuous
    gap = horizon_value_gap(tv, length, most=1e-4, **kind)
    assert not gap.vacuous and 36e-5 < gap.bound <= 36e-4
    limit = expected_tv_limit(tv, length, discount=0.0, most=1e-4, horizon=8, terminates=False)
    assert 1e-5 < limit <= 1e-4


def test_a_limit_of_samples_up_to_c_is_c_times_the_limit_of_their_shares():
    shares = jnp.asarray(np.random.default_rng(0).uniform(size=30), jnp.float32)
    limit = mean_upper_limit(0.01 * shares, 0.95, 0.01)
    np.testing.assert_allclose(limit, 0.01 * mean_upper_limit(shares, 0.95), rtol=1e-5)


@pytest.mark.parametrize(("count", "smaller"), [(20, "hoeffding"), (300, "bernstein")])
def test_a_limit_by_hand_is_the_smaller_of_two_at_half_of_the_error_each(count, smaller):
    samples, error = np.random.default_rng(0).uniform(0, 0.05, count), 0.2
    bounds = {
        "hoeffding": 0.1 * np.sqrt(np.log(2 / error) / (2 * count)),
        "bernstein": np.sqrt(2 * samples.var(ddof=1) * np.log(4 / error) / count)
        + 7 * 0.1 * np.log(4 / error) / (3 * (count - 1)),
    }
    assert min(bounds, key=lambda name: bounds[name]) == smaller
    limit = mean_upper_limit(jnp.asarray(samples, jnp.float32), 1 - error, 0.1)
    np.testing.assert_allclose(limit, samples.mean() + bounds[smaller], rtol=2e-5)


def test_horizon_bound_weighs_steps_by_what_is_left():
    tv = jnp.zeros((5000, 4)).at[:, 0].set(0.5)
    kind = {"reward_low": 0.0, "reward_high": 1.0, "horizon": 4, "terminates": False}
    gap = horizon_value_gap(tv, jnp.full(5000, 4), **kind)
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
        ({"horizon": 0}, "horizon: got 0"),
        ({"reward_low": 3.0}, "reward_low, reward_high: got 3.0 and 1.0"),
    ],
)
def test_errors_name_the_argument(change, words):
    kind = {"discount": 0.9, "reward_low": 0.0, "reward_high": 1.0, "horizon": 2, "terminates": True}
    with pytest.raises(SpecError, match=words):
        discounted_value_gap(jnp.zeros((3, 2)), jnp.full(3, 2), **kind | change)


@pytest.mark.parametrize(("confidence", "needed"), [(0.9, 2), (0.99, 3), (1 - 1e-9, 11)])
def test_too_few_episodes_are_refused_and_enough_say_something(confidence, needed):
    with pytest.raises(SpecError, match=f"episodes: got {needed - 1}, .* at least {needed} "):
        mean_upper_limit(jnp.zeros(needed - 1), confidence)
    assert mean_upper_limit(jnp.zeros(needed), confidence) < 1
