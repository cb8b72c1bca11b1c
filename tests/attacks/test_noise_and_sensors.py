"""Attacks that look at nothing: their distributions are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.attacks import Gaussian, Nothing, Sensor, Uniform, Victim
from jaxprune.budget import Ball
from tests.attacks.victims import OBS, linear_victim, shown

DRAWS = 20_000


def draws(attack, norm, eps):
    keys = jax.random.split(jax.random.key(0), DRAWS)
    point = jnp.zeros(OBS)
    return np.asarray(jax.vmap(lambda key: shown(attack, key, linear_victim(), point, eps, norm))(keys))


def test_nothing_shows_the_truth():
    point = jnp.arange(5.0)
    assert shown(Nothing(), jax.random.key(0), linear_victim(), point, 1.0).tolist() == point.tolist()


def test_uniform_fills_the_cube():
    sample = draws(Uniform(), "linf", 0.3)
    np.testing.assert_allclose(sample.mean(0), 0, atol=5 * 0.3 / np.sqrt(3 * DRAWS))
    np.testing.assert_allclose(sample.var(0), 0.3**2 / 3, rtol=0.03)
    assert 0.299 < np.abs(sample).max() <= 0.3


def test_uniform_fills_the_sphere():
    """The length of a uniform point of the n-ball has `P(length < r) = r^n`; every direction is alike."""
    sample = draws(Uniform(), "l2", 0.3)
    length = np.linalg.norm(sample, axis=1) / 0.3
    np.testing.assert_allclose(np.mean(length), OBS / (OBS + 1), atol=0.005)
    np.testing.assert_allclose(np.mean(length < 0.8), 0.8**OBS, atol=0.015)
    np.testing.assert_allclose(np.cov(sample.T), np.eye(OBS) * 0.3**2 / (OBS + 2), atol=0.0006)


def test_gaussian_noise_is_cut_to_the_ball():
    sample = draws(Gaussian(), "linf", 0.3)
    np.testing.assert_allclose(np.mean(np.abs(sample) >= 0.3), 0.3173, atol=0.01)
    inside = np.abs(sample) < 0.3
    np.testing.assert_allclose(np.mean(np.abs(sample[inside]) < 0.15), 0.3829 / 0.6827, atol=0.01)


def test_eps_per_feature_is_respected():
    eps = jnp.array([0.0, 0.1, 0.2, 0.3, 0.4])
    sample = draws(Uniform(), "linf", eps)
    np.testing.assert_allclose(np.abs(sample).max(0), eps, atol=1e-3)


def sensor_history(sensor, steps=400, episodes=500):
    """Which features had failed, [episode, step, feature]."""

    def episode(key):
        point = jnp.ones(OBS)

        def step(memory, key):
            point_hat, memory_next = sensor.perturb(key, linear_victim(), point, Ball(10.0), memory)
            return memory_next, point_hat == 0

        start_key, key = jax.random.split(key)
        return jax.lax.scan(step, sensor.start(start_key, point), jax.random.split(key, steps))[1]

    return np.asarray(jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), episodes)))


def test_sensor_chain_has_its_closed_form_share_and_persistence():
    failure, recovery = 0.05, 0.15
    failed = sensor_history(Sensor(failure=failure, recovery=recovery)).astype(float)
    share = failure / (failure + recovery)
    np.testing.assert_allclose(failed.mean(), share, atol=0.005)
    # Stationary from the first step on, not only in the long run.
    np.testing.assert_allclose(failed[:, 0].mean(), share, atol=0.03)
    now, then = failed[:, :-1] - share, failed[:, 1:] - share
    np.testing.assert_allclose(np.mean(now * then) / (share * (1 - share)), 1 - failure - recovery, atol=0.01)
    begun = (failed[:, 1:] > failed[:, :-1]).sum()
    np.testing.assert_allclose(failed.sum() / begun, 1 / recovery, rtol=0.03)


def test_sensor_groups_fail_together_and_apart():
    failed = sensor_history(Sensor(groups=jnp.array([0, 0, 3, 3, 1])), steps=100)
    np.testing.assert_array_equal(failed[..., 0], failed[..., 1])
    np.testing.assert_array_equal(failed[..., 2], failed[..., 3])
    correlation = np.corrcoef(failed[:, :, 0].ravel(), failed[:, :, 2].ravel())[0, 1]
    assert abs(correlation) < 0.1


@pytest.mark.parametrize(("failure", "recovery", "all_fail"), [(0.0, 0.0, False), (1.0, 0.0, True)])
def test_sensors_that_never_or_always_fail(failure, recovery, all_fail):
    failed = sensor_history(Sensor(failure=failure, recovery=recovery), steps=5, episodes=20)
    assert np.all(failed == all_fail)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_small_ball_only_drags_a_failed_sensor(norm):
    sensor, point = Sensor(failure=1.0, recovery=0.0), jnp.array([1.0, -2.0, 0.01, 0.0, 3.0])
    point_hat = shown(sensor, jax.random.key(0), linear_victim(), point, 0.1, norm)
    length = np.linalg.norm(point)
    expected = {
        "linf": np.array([0.9, -1.9, 0.0, 0.0, 2.9]),
        "l2": np.asarray(point) * (length - 0.1) / length,
    }
    np.testing.assert_allclose(point_hat, expected[norm], atol=1e-6)


def readings(sensor, steps, ball):
    """What the sensors show step by step where the truth is 1, [step, feature]."""
    point = jnp.ones(OBS)

    def step(memory, key):
        point_hat, memory = sensor.perturb(key, linear_victim(), point, ball, memory)
        return memory, point_hat

    start_key, key = jax.random.split(jax.random.key(3))
    return np.asarray(jax.lax.scan(step, sensor.start(start_key, point), jax.random.split(key, steps))[1])


def test_a_drifting_sensor_moves_steadily_one_way_up_to_the_ball():
    shown_points = readings(Sensor(failure=1.0, recovery=0.0, drift=0.1), 30, Ball(2.0))
    direction = np.sign(shown_points[0] - 1)
    assert set(direction) == {-1.0, 1.0}
    expected = 1 + direction * np.minimum(0.1 * np.arange(1, 31)[:, None], 2.0)
    np.testing.assert_allclose(shown_points, expected, atol=1e-5)


def test_a_drift_ends_with_the_failure_and_a_group_drifts_as_one():
    sensor = Sensor(groups=jnp.array([0, 0, 3, 3, 1]), failure=0.3, recovery=0.3, drift=0.5)
    offsets = readings(sensor, 400, Ball(100.0)) - 1
    np.testing.assert_allclose(offsets[:, 0], offsets[:, 1], atol=1e-5)
    assert (offsets == 0).mean() == pytest.approx(0.5, abs=0.1)
    before, after = offsets[:-1], offsets[1:]
    begun = (before == 0) & (after != 0)
    np.testing.assert_allclose(np.abs(after[begun]), 0.5, atol=1e-5)
    lasting = (before != 0) & (after != 0)
    # A sensor that recovers works for at least a step, so a drift never turns round.
    np.testing.assert_allclose(np.abs(after[lasting]) - np.abs(before[lasting]), 0.5, atol=1e-4)


def test_a_failed_sensor_shows_its_mean_in_raw_units():
    victim = linear_victim()
    agent = victim.agent.replace(normalizer=victim.agent.normalizer.replace(mean=jnp.full(OBS, 7.0)))
    sensor = Sensor(failure=1.0, recovery=0.0)
    point_hat = shown(sensor, jax.random.key(0), Victim(agent, "raw"), jnp.zeros(OBS), 100.0)
    np.testing.assert_allclose(point_hat, 7.0)
