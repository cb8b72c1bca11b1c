import io

import polars as pl
import pytest

from jaxprune.report import open_console
from jaxprune.report.audit import change_table, theorem_line, tight_lines

ROW = {
    "norm": "linf",
    "space": "normalised",
    "eps": 0.1,
    "quantity": "delta",
    "monotone": False,
    "states": 20,
    "members": 2,
}


def above(tightest, found, proven, ratio=1.5):
    """A row per bound x sparsity; `tightest` and `found` are the states above at 0.5 and 0.9."""
    return pl.DataFrame(
        [
            ROW
            | {
                "bound": bound,
                "kind": "bound" if bound == "tightest" else "estimate",
                "sparsity_asked": sparsity,
                "states_above": count,
                "members_above": min(count, 1),
                "states_below": 10 - count,
                "proven_above": proven if bound == "tightest" else None,
                "proven_below": 2 * proven if bound == "tightest" else None,
                "largest_ratio": ratio * sparsity if ratio else None,
            }
            for bound, counts in (("tightest", tightest), ("mad", found))
            for sparsity, count in zip((0.5, 0.9), counts, strict=True)
        ],
        schema_overrides={"largest_ratio": pl.Float64},
    )


def test_the_tight_verdict_says_how_often_how_much_and_where():
    tight, attack, worse, better = tight_lines(above((5, 1), (8, 2), 3))
    assert "tightest bound rose under pruning at 6 of 40 states x members (15%; it fell at 35%)" in tight
    assert "for 2 of 4 members; at worst 1.35-fold, at sparsity 0.9" in tight
    assert "largest distance found rose under pruning at 10 of 40" in attack
    assert worse.startswith("at 6 states x members") and "less robust for sure" in worse
    assert better.startswith("at 12 states x members") and "more robust for sure" in better


def test_the_changes_stand_in_a_row_per_sparsity():
    console = open_console(io.StringIO())
    console.print(change_table(above((5, 1), (8, 2), 3)))
    rows = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["0.50", "20", "0", "5", "5", "8", "2", "3", "6"] in rows
    assert ["0.90", "20", "0", "1", "9", "2", "8", "3", "6"] in rows


def test_what_never_rose_and_what_rose_from_zero_is_said():
    assert "never rose under pruning (0 of 40" in tight_lines(above((0, 0), (0, 0), 0))[0]
    assert "at worst from zero" in tight_lines(above((1, 0), (1, 0), 0, ratio=None))[1]


def test_without_a_dense_member_nothing_is_compared():
    (line,) = tight_lines(above((1, 1), (1, 1), 0).clear())
    assert "no member is dense" in line


@pytest.mark.parametrize(("factor", "said"), [(1.0, "no mask ever raised"), (2.0, "which is a DEFECT")])
def test_the_theorem_is_checked_not_believed(synthetic, factor, said):
    table = synthetic.certificates(1)
    raised = pl.when(pl.col("bound") == "path").then(pl.col("unmasked") * factor).otherwise("value")
    line = theorem_line(table.with_columns(value=raised))
    assert said in line
    assert "28 cases" in line  # 2 monotone bounds x 7 pruned members x 2 budgets


def test_the_theorem_is_checked_in_action_units_where_policies_are_deterministic(synthetic):
    table = synthetic.certificates(1).filter(pl.col("quantity") == "delta")
    infinite = table.with_columns(value=pl.lit(float("inf")), unmasked=pl.lit(float("inf")))
    line = theorem_line(pl.concat([infinite, table.with_columns(quantity=pl.lit("delta_action"))]))
    assert "no mask ever raised" in line and "28 cases" in line


def test_the_theorem_is_not_claimed_for_bounds_that_are_infinite_anyway(synthetic):
    infinite = synthetic.certificates(1).with_columns(
        value=pl.lit(float("inf")), unmasked=pl.lit(float("inf"))
    )
    assert "not checked" in theorem_line(infinite)
