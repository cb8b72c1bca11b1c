import numpy as np
import polars as pl
import pytest

from jaxprune.analysis import Bootstrap, across_seeds, interquartile_mean


def test_one_value_has_no_interval():
    assert Bootstrap().mean([3.0]) == (3.0, None, None)


def test_equal_values_give_an_interval_of_width_zero():
    assert Bootstrap().mean([7.0] * 5) == (7.0, 7.0, 7.0)


@pytest.mark.parametrize("count", [2, 3])
def test_up_to_three_values_the_interval_is_their_range(count):
    values = [1.0, 5.0, 12.0][:count]
    estimate = Bootstrap(confidence=0.95).mean(values)
    assert estimate[1:] == pytest.approx((min(values), max(values)))


def test_agrees_with_a_loop_over_resamples():
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    rng = np.random.default_rng(11)
    draws = rng.integers(6, size=(400, 6))
    means = sorted(sum(values[i] for i in draw) / 6 for draw in draws)

    def quantile(share):
        place = share * (len(means) - 1)
        below = int(place)
        return means[below] + (place - below) * (means[below + 1] - means[below])

    estimate = Bootstrap(confidence=0.8, resamples=400, seed=11).mean(values)
    assert estimate == pytest.approx((values.mean(), quantile(0.1), quantile(0.9)))


def test_the_seed_decides_the_interval():
    values = np.arange(10.0) ** 2
    assert Bootstrap(seed=1).mean(values) == Bootstrap(seed=1).mean(values)
    assert Bootstrap(seed=1).mean(values) != Bootstrap(seed=2).mean(values)


def test_covers_the_mean_of_normal_samples_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    estimates = [Bootstrap(confidence=0.9, resamples=500).mean(rng.normal(5, 2, 40)) for _ in range(400)]
    covered = np.mean([low <= 5 <= high for _, low, high in estimates])
    assert 0.85 < covered < 0.93


def test_a_paired_difference_does_not_see_what_the_pairs_share():
    control = np.array([10.0, 2000.0, -300.0, 55.0])
    assert Bootstrap().paired_difference(control + 4, control) == pytest.approx((4, 4, 4))


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="3 values against 2"):
        Bootstrap().paired_difference([1, 2, 3], [1, 2])


@pytest.mark.parametrize(("field", "value"), [("confidence", 95.0), ("confidence", 0.0), ("resamples", 0)])
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}={value}"):
        Bootstrap(**{field: value})


def test_interquartile_mean():
    assert interquartile_mean([1, 2]) == 1.5
    assert interquartile_mean([-1000, 2, 4, 1000]) == 3
    assert interquartile_mean([9, 8, 7, 6, 5, 4, 3, 2, 1]) == 5
    with pytest.raises(ValueError, match="at least one value"):
        interquartile_mean([])


def test_across_seeds_leaves_out_nulls_and_sorts_groups():
    table = pl.DataFrame({"sparsity": [0.5, 0.5, 0.0, 0.9], "gap": [1.0, 3.0, 8.0, None]})
    rows = across_seeds(table, ["sparsity"], "gap").rows()
    assert rows == [
        (0.0, 1, 8.0, None, None, 8.0),
        (0.5, 2, 2.0, 1.0, 3.0, 2.0),
        (0.9, 0, None, None, None, None),
    ]
