"""The differences that `benchmarks.certified_returns` reports, by hand."""

import numpy as np
import pytest
from scipy.stats import t

from benchmarks.certified_returns import differences

DENSE = np.array([1.0, 2.0, 4.0, 1.0])
PRUNED = {"0.5": np.array([11.0, 12.0, 14.0, 7.0]), "0.9": np.array([1.0, np.nan, 3.0, 1.0])}


def cells(line):
    return line.strip("| ").split(" | ")[1:]


def test_intervals_hold_together_over_the_table_and_placebos_are_of_dense_alone():
    kinds = {"certified": PRUNED | {"dense": DENSE}, "by blocks": PRUNED | {"dense": DENSE}}
    head, _, first, second = differences("minus dense (adjusted p)", kinds, "dense")
    assert cells(head) == ["0.5", "0.9", "dense minus dense, pairs of seeds"]
    assert cells(first) == cells(second)
    half, most, placebo = cells(first)
    # 10, 10, 10 and 6: four comparisons share the error of 5 %
    reach = t.ppf(1 - 0.05 / 4 / 2, df=3) * np.std([10, 10, 10, 6], ddof=1) / 2
    assert half.startswith("+9.00 ")
    low, high = half.split()[1].split("..")
    assert (float(low), float(high)) == pytest.approx((9 - reach, 9 + reach), abs=0.06)
    # of three seeds: 0, -1 and 0
    assert most.startswith("-0.333 ")
    assert placebo == "-1.00, +3.00"


def test_many_placebo_pairs_are_told_by_mean_and_spread():
    dense = np.array([3.0, 1.0] * 4 + [1.0, 3.0] * 4)
    _, _, row = differences("about", {"certified": {"0.5": dense, "dense": dense}}, "dense")
    assert cells(row)[-1] == f"0 (sd {np.sqrt(8 * 4 / 7):.2f}, 8 pairs)"
