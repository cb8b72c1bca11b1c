"""The search for the largest radius: by hand, and how often it is wrong."""

import numpy as np
import pytest

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


@pytest.mark.parametrize("right", range(4))
def test_it_is_wrong_as_often_as_one_limit_alone_however_many_follow(right):
    """Limits that are each too high in a tenth of all cases, independently; the first `right` claims hold."""
    too_high = np.random.default_rng(right).uniform(size=(500, RADII.size)) < 0.1
    limits = np.where(too_high | (np.arange(RADII.size) < right), 1.0, 0.0)
    last = RADII[right - 1] if right else 0.0
    found = np.array([largest_radius(RADII, row, 1.0) for row in limits])
    assert np.mean(found > last) == too_high[:, right].mean()
