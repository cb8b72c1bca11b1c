"""What a certification says on one screen of certified returns."""

import polars as pl
import pytest

from jaxprune.report import certify_screen_words
from tests.report.test_attacked_returns import apart
from tests.report.test_attacked_returns import table as attacked_returns
from tests.report.texts import whole


def words(synthetic, limits, above=None, *, post_hoc=True):
    about = {"ball": "own", "arm": "ppo", "quantity": "delta", "diverged": False}
    members = pl.DataFrame(
        [
            about
            | {"member": member, "seed": 0, "sparsity_asked": sparsity, "sparsity": sparsity, "value": 1.0}
            | {"bound": bound, "monotone": bound == "path"}
            for member, sparsity in enumerate((0.0, 0.5))
            for bound in ("path", "tightest", "mad")
        ]
    )
    return certify_screen_words(
        states=pl.DataFrame({"kind": ["bound"], "found": [0.0], "value": [1.0]}),
        members=members,
        above=members.clear() if above is None else above,
        certificates=synthetic.certificates(1).with_columns(diverged=pl.lit(False)),
        returns=members.unique("member").with_columns(policy=pl.lit("sampled"), return_mean=pl.lit(999.0)),
        smoothing=None,
        attacked_returns=limits,
        post_hoc=post_hoc,
    )


def said(made):
    """Of certified returns."""
    (line,) = (line for line in made.lines if line.startswith("certified"))
    return line


def test_what_is_certified_stands_beside_the_clean_value_of_the_same(synthetic):
    made = words(synthetic, attacked_returns())
    assert said(made) == (
        "certified, eps 0.01 at every step, sampled actions, confidence 0.95 of all together: dense 600 of "
        "1000, pruned 800 of 1000 (at 0.50); more is no proof of more return"
    )
    text = whole(made)
    assert "own balls; certified: % of clean" in text
    rows = [line.split() for line in text.splitlines()]
    assert [row[-4:] for row in rows if row[:1] in (["0.00"], ["0.50"])] == [
        ["600", "60%", "300", "30%"],
        ["800", "80%", "500", "50%"],
    ]


@pytest.mark.parametrize(("blocks", "sum_over_blocks"), [(1000.0, False), (2500.0, True)])
def test_blocks_are_taken_for_a_larger_share_and_not_for_a_larger_number(synthetic, blocks, sum_over_blocks):
    # 400 of 1000 are certified; 1000 of 5000 are less of it.
    made = words(synthetic, apart().with_columns(certified_blocks=pl.lit(blocks)))
    assert said(made).startswith("certified by blocks, eps" if sum_over_blocks else "certified, eps")
    assert ("dense 2500 of 5000, pruned 2500 of 5000" in said(made)) == sum_over_blocks
    assert ("dense 400 of 1000, pruned 400 of 1000" in said(made)) != sum_over_blocks
    assert ("2500 50%" in whole(made), "by blocks" in whole(made)) == (sum_over_blocks, sum_over_blocks)


def test_a_share_is_of_the_way_from_the_lowest_return(synthetic):
    limits = attacked_returns(lambda *_: 500.0).with_columns(lowest=pl.lit(-1000.0))
    assert "500 75%" in whole(words(synthetic, limits))
    nothing = limits.with_columns(
        lowest=pl.lit(1000.0), certified_mean=pl.lit(1000.0), certified_blocks=pl.lit(1000.0)
    )
    assert "dense 1000 of 1000" in said(words(synthetic, nothing)) and "%" not in " ".join(
        whole(words(synthetic, nothing)).split("eps 0.02")[-1]
    )


def test_of_several_arms_what_is_certified_is_told_with_the_arm(synthetic):
    limits = attacked_returns()
    other = limits.with_columns(arm=pl.lit("sa"), certified_mean=pl.col("certified_mean") + 50)
    assert "dense 650 of 1000 (sa), pruned 850 of 1000 (sa, at 0.50)" in said(
        words(synthetic, pl.concat([limits, other]))
    )


def test_of_the_tightest_bound_alone_it_is_told_where_it_rose_and_what_is_proven(synthetic):
    row = {"ball": "own", "arm": "ppo", "sparsity_asked": 0.5, "members": 8, "members_above": 3}
    tightest = row | {"members_proven_above": 1, "members_proven_below": 2, "bound": "tightest"}
    tightest |= {"share_above": 0.25, "share_below": 0.7, "proven_above": 4, "proven_below": 9}
    found = row | dict.fromkeys(tightest.keys() - row.keys(), None) | {"bound": "mad"}
    above = pl.DataFrame([found, tightest], infer_schema_length=None)
    line = next(line for line in words(synthetic, None, above).lines if line.startswith("tight verdict"))
    assert line == (
        "tight verdict: in the mean the tightest bound rose for 3 of 8 pruned policies; at some state proven "
        "easier to attack than dense: 1, harder: 2"
    )
    apart = words(synthetic, None, above, post_hoc=False).lines
    assert any(line.endswith("harder: 2 (trained apart, so that pruning need not be why)") for line in apart)
    rows = [line.split() for line in whole(words(synthetic, None, above)).splitlines()]
    assert ["0.50", "1.00", "1.00", "1.00", "25%/70%", "4/9", "999"] in rows
