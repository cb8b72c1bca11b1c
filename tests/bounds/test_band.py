"""The band against integrals by hand, another recursion, and samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from jaxprune.bounds import crossing_probability, local_level, survival_limits
from jaxprune.errors import SpecError

ordered = st.lists(st.floats(0, 0.999), min_size=3, max_size=3).map(sorted)


def crossing_going_forward(limits):
    """`P[U_(j) < limits[j] for some j]` by following how many of the numbers are below each limit."""
    count, at = limits.size, 0.0
    law = np.eye(1, count + 1)[0]  # of the number below `at`, as long as no limit is crossed
    below = np.arange(count + 1)
    for j, limit in enumerate(limits, start=1):
        more = below[None, :] - below[:, None]
        law = law @ binom.pmf(more, (count - below)[:, None], (limit - at) / (1 - at))
        law[j:] = 0
        at = limit
    return 1 - law.sum()


@given(ordered)
def test_crossing_of_up_to_three_limits_by_hand(limits):
    a, b, c = limits
    two = 1 - ((1 - a) ** 2 - (b - a) ** 2)
    # None below a, at most one below b; of those not all below c.
    three = (1 - b) ** 3 + 3 * (b - a) * (1 - b) ** 2 - (c - b) ** 3 - 3 * (b - a) * (c - b) ** 2
    assert crossing_probability(np.array([a])) == pytest.approx(a, abs=1e-12)
    assert crossing_probability(np.array([a, b])) == pytest.approx(two, abs=1e-12)
    assert crossing_probability(np.array([a, b, c])) == pytest.approx(1 - three, abs=1e-12)


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0.3, 5))
def test_crossing_is_that_of_a_recursion_going_forward(count, seed, power):
    limits = np.sort(np.random.default_rng(seed).uniform(0, 0.99, count)) ** power
    assert crossing_probability(limits) == pytest.approx(crossing_going_forward(limits), abs=1e-9)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999])
@pytest.mark.parametrize("count", [1, 2, 7, 150])
def test_the_band_is_wrong_as_often_as_allowed(count, confidence):
    error = 1 - confidence
    crossing = crossing_going_forward(survival_limits(count, confidence)[1:])
    assert error * (1 - 1e-4) < crossing < error + 1e-12


def test_the_band_of_many_episodes_is_wrong_as_often_as_allowed():
    assert crossing_probability(survival_limits(2000, 0.95)[1:]) == pytest.approx(0.05, rel=1e-5)


def test_limits_of_one_and_two_episodes():
    np.testing.assert_allclose(survival_limits(1, 0.9), [0, 0.1], rtol=1e-5)
    none, first, second = survival_limits(2, 0.9)
    level = local_level(2, 0.9)
    np.testing.assert_allclose([none, first, second], [0, 1 - np.sqrt(1 - level), np.sqrt(level)])
    assert (1 - first) ** 2 - (second - first) ** 2 == pytest.approx(0.9, abs=1e-6)


def test_each_limit_is_that_of_clopper_and_pearson_at_the_local_level():
    level = local_level(50, 0.95)
    assert 0.05 / 50 < level < 0.05
    limit = binomtest(37, 50, alternative="greater").proportion_ci(1 - level).low
    np.testing.assert_allclose(survival_limits(50, 0.95)[37], limit)


def test_the_band_is_right_as_often_as_promised_and_no_more():
    """The j-th smallest of uniform numbers is `P[return >= t]` at the j-th largest return."""
    chances = np.sort(np.random.default_rng(0).uniform(size=(4000, 60)), axis=1)
    wrong = np.any(chances < survival_limits(60, 0.9)[1:], axis=1).mean()
    assert abs(wrong - 0.1) < 4 * np.sqrt(0.09 / 4000)


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_the_band_holds_for_returns_that_coincide(levels):
    rng = np.random.default_rng(levels)
    law = rng.dirichlet(np.ones(levels))
    reached = rng.multinomial(40, law, size=2000)[:, ::-1].cumsum(axis=1)
    at_least = law[::-1].cumsum()
    wrong = np.any(at_least + 1e-12 < survival_limits(40, 0.8)[reached], axis=1).mean()
    assert wrong <= 0.2


@pytest.mark.parametrize("count", [100, 1000])
def test_where_returns_are_almost_sure_the_band_is_narrower_than_one_of_constant_width(count):
    constant = np.sqrt(np.log(20) / (2 * count))
    limits = survival_limits(count, 0.95)
    shares = np.arange(count + 1) / count
    assert np.all((shares - limits)[shares >= 0.9] < constant)
    assert (shares - limits)[-1] < 0.5 * constant


@settings(max_examples=20)
@given(st.integers(1, 60), st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_limits_grow_with_what_was_reached_and_with_the_episodes_and_fall_with_confidence(count, one, two):
    low, high = sorted((one, two))
    limits = survival_limits(count, low)
    assert limits[0] == 0 and np.all(np.diff(limits) > 0)
    assert np.all(limits[:-1] < np.arange(1, count + 1) / count) and limits[-1] < 1
    # Confidences that differ in their last bits have limits that do, too.
    assert np.all(survival_limits(count, high) <= limits + 1e-9)
    assert np.all(survival_limits(2 * count, low)[2::2] > limits[1:])


def test_limits_are_kept_and_cannot_be_changed():
    assert survival_limits(10, 0.95) is survival_limits(10, 0.95)
    with pytest.raises(ValueError, match="read-only"):
        survival_limits(10, 0.95)[0] = 1


@pytest.mark.parametrize(
    ("count", "confidence", "words"),
    [(0, 0.95, "episodes: got 0"), (5, 1.0, "confidence: got 1.0"), (5, 0.0, "confidence: got 0.0")],
)
def test_errors_name_the_argument(count, confidence, words):
    with pytest.raises(SpecError, match=words):
        survival_limits(count, confidence)
