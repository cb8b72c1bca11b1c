from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxprune.report.style import spread

HEIGHTS = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_heights_far_apart_stay():
    assert spread([0.9, 0.1, 0.5], 0.1) == pytest.approx([0.9, 0.1, 0.5])


def test_heights_too_close_part_about_their_mean():
    assert spread([0.5, 0.52], 0.1) == pytest.approx([0.46, 0.56])


@given(heights=HEIGHTS)
def test_labels_never_touch_keep_their_order_and_stay_inside(heights):
    places = spread(heights, 0.06)
    by_height = [place for _, place in sorted(zip(heights, places, strict=True))]
    assert all(above - below > 0.06 - 1e-9 for below, above in pairwise(by_height))
    assert -1e-9 <= by_height[0] <= by_height[-1] <= 1 + 1e-9
