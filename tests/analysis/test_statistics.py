import numpy as np
import polars as pl
import pytest
from scipy import stats

from jaxprune.analysis import Student, across_seeds, interquartile_mean


def test_one_value_has_no_interval():
    assert Student().mean([3.0]) == (3.0, None, None)


def test_equal_values_give_an_interval_of_width_zero():
    assert Student().mean([7.0] * 5) == (7.0, 7.0, 7.0)


def test_an_interval_computed_by_hand():
    # Mean 0, squares 9 + 1 + 1 + 1, so sd 2 and sd / sqrt(n) 1; t with 3 degrees of freedom is 3.18245.
    assert Student().mean([3.0, -1.0, -1.0, -1.0]) == pytest.approx((0, -3.182446, 3.182446))
    # Of 0 and 2: mean 1, sd sqrt(2), so sd / sqrt(n) is 1 and t with 1 degree of freedom is 12.7062.
    assert Student().mean([0.0, 2.0]) == pytest.approx((1, 1 - 12.706205, 1 + 12.706205))


@pytest.mark.parametrize(("count", "confidence"), [(2, 0.95), (5, 0.9), (20, 0.99)])
def test_agrees_with_scipy(count, confidence):
    sample = np.random.default_rng(count).exponential(size=count)
    low, high = stats.ttest_1samp(sample, 0).confidence_interval(confidence)
    assert Student(confidence).mean(sample)[1:] == pytest.approx((low, high))


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_covers_the_mean_of_normal_samples_as_often_as_it_says(count):
    samples = np.random.default_rng(0).normal(5, 2, (2000, count))
    covered = np.mean([low <= 5 <= high for _, low, high in map(Student().mean, samples)])
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 2000)


def test_a_paired_difference_does_not_see_what_the_pairs_share():
    control = np.array([10.0, 2000.0, -300.0, 55.0])
    assert Student().paired_difference(control + 4, control) == pytest.approx((4, 4, 4))


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="3 values against 2"):
        Student().paired_difference([1, 2, 3], [1, 2])


@pytest.mark.parametrize("confidence", [95.0, 1.0, 0.0])
def test_a_confidence_out_of_range_is_refused(confidence):
    with pytest.raises(ValueError, match=f"confidence={confidence}"):
        Student(confidence)


def test_interquartile_mean():
    assert interquartile_mean([1, 2]) == 1.5
    assert interquartile_mean([-1000, 2, 4, 1000]) == 3
    assert interquartile_mean([9, 8, 7, 6, 5, 4, 3, 2, 1]) == 5
    with pytest.raises(ValueError, match="at least one value"):
        interquartile_mean([])


def test_across_seeds_leaves_out_nulls_and_sorts_groups():
    table = pl.DataFrame({"sparsity": [0.5, 0.5, 0.0, 0.9], "gap": [1.0, 3.0, 8.0, None]})
    one, two, none = across_seeds(table, ["sparsity"], "gap").rows()
    assert one == (0.0, 1, 8.0, None, None, 8.0)
    assert two == pytest.approx((0.5, 2, 2.0, 2 - 12.706205, 2 + 12.706205, 2.0))
    assert none == (0.9, 0, None, None, None, None)


def test_across_seeds_leaves_out_what_diverged():
    table = pl.DataFrame({"sparsity": [0.5, 0.5], "gap": [1.0, 300.0], "diverged": [False, True]})
    assert across_seeds(table, ["sparsity"], "gap").rows() == [(0.5, 1, 1.0, None, None, 1.0)]
