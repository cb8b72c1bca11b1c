"""The differences that `benchmarks.certified_returns` reports, by hand."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from benchmarks import certified_returns
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


def limits(tmp_path, clean):
    """A file of limits at two radii, all but `clean` without interest."""
    names = ("certified_mean", "certified_blocks", "attacked_mean", "attacked_max_lowest", "mean_max_lowest")
    numbers = dict.fromkeys(names, 1.0)
    about = {"episodes": 9, "simultaneous": 9, "confidence": 0.95, "lowest": 0.0, "blocks": 2, "minutes": 1.0}
    rows = [
        {"seed": seed, "sparsity_asked": sparsity, "eps": eps, "mean_own_std": value} | numbers | about
        for eps in (0.01, 0.02)
        for sparsity, values in clean.items()
        for seed, value in enumerate(values)
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "of-std1.csv")


def test_what_mad_finds_by_blocks_is_told_where_it_is_something_else():
    found = pl.DataFrame({"attacked_mean": [1.0, 2.0], "attacked_max_lowest": [3.0, 4.0]})
    by_blocks = [pl.Series("attacked_blocks", values) for values in ([3.0, 4.0], [3.0, 5.0], [3.0, None])]
    assert certified_returns.attacked(found) == {"attacked_max_lowest": "MAD finds"}
    same, other, partly = (certified_returns.attacked(found.with_columns(one)) for one in by_blocks)
    assert same == partly == {"attacked_max_lowest": "MAD finds"}
    assert other == {"attacked_max_lowest": "MAD finds", "attacked_blocks": "MAD finds by blocks"}
    assert certified_returns.attacked(found.drop("attacked_max_lowest")) == {
        "attacked_mean": "MAD finds, of R"
    }


def test_what_attackers_leave_is_compared_where_they_were_searched_for(tmp_path, monkeypatch):
    monkeypatch.setattr(certified_returns, "TABLES", tmp_path)
    monkeypatch.setattr(certified_returns, "ATTACKED", tmp_path / "attacked")
    limits(tmp_path, {0.0: [10.0, 20.0], 0.5: [5.0, 5.0], 0.9: [9.0, 21.0]})
    assert "strongest" not in certified_returns.report().split("## ")[1]
    (tmp_path / "attacked").mkdir()
    found = {"seed": [1, 0, 0, 1], "sparsity_asked": [0.9, 0.9, 0.0, 0.0], "attackers_tried": 43, "eps": 0.02}
    left = pl.DataFrame(found | {"searched_mean": [17.0, 8.0, 7.0, 14.0]})
    left.write_csv(tmp_path / "attacked" / "of-std1-0.02.csv")
    lines = certified_returns.report().split("## ")[1].splitlines()
    own = [line for line in lines if line.startswith("| eps 0.02, strongest of 43 found, of R |")]
    assert [cell.split()[0] for cell in cells(own[0])] == ["10.5", "-", "12.5"]
    *_, head, _, clean, attacked = (line for line in lines if line.startswith("|"))
    assert cells(head) == ["0.9", "dense minus dense, pairs of seeds"]
    assert clean.startswith("| clean | 0 ") and clean.endswith("| -10.0 |")
    assert attacked.startswith("| eps 0.02, under the strongest found | +2.00 ")
    assert attacked.endswith("| -7.00 |")
    # Where another radius was searched at other sparsities, those of both are compared; without dense, none.
    more = left.with_columns(eps=0.01, sparsity_asked=pl.col("sparsity_asked").replace(0.9, 0.5))
    more.write_csv(tmp_path / "attacked" / "of-std1-0.01.csv")
    assert "under the strongest" not in certified_returns.report()
