"""The search for the largest radius: by hand, and how often it is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxprune.bounds import largest_radius

RADII = np.array([0.01, 0.02, 0.04, 0.08])


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ([5.0, 5.0, 5.0, 5.0], 0.08),
        ([9.0, 7.0, 4.9, 4.0], 0.02),
        ([4.9, 7.0, 9.0, 9.0], 0.0),
        ([7.0, 4.9, 7.0, 7.0], 0.01),
        ([0.0, 0.0, 0.0, 0.0], 0.0),
    ],
)
def test_the_search_ends_at_the_first_limit_that_is_too_low(limits, found):
    assert largest_radius(RADII, np.array(limits), 5.0) == found
    turned = largest_radius(RADII[::-1], np.array(limits)[::-1], 5.0)
    assert turned == found


@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_it_is_wrong_as_often_as_one_limit_alone_however_many_follow(right, seed):
    """Limits that are each too high in a tenth of all cases, independently; the first `right` claims hold."""
    rng = np.random.default_rng(seed)
    too_high = rng.uniform(size=(2000, RADII.size)) < 0.1
    limits = np.where(too_high | (np.arange(RADII.size) < right), 1.0, 0.0)
    last = RADII[right - 1] if right else 0.0
    wrong = np.mean([largest_radius(RADII, row, 1.0) > last for row in limits])
    assert wrong <= 0.1 + 4 * np.sqrt(0.09 / 2000)
    # Who goes on after a failure has one chance to be wrong for every radius left.
    if right < 3:
        assert np.mean(too_high[:, right:].any(axis=1)) > 0.15
