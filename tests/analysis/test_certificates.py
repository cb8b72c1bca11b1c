import polars as pl
import pytest

from jaxprune.analysis import (
    across_seeds,
    against_dense,
    at_the_same_states,
    audit,
    distance_quantity,
    smallest_bound,
)


def test_the_audit_counts_members_above_their_own_twin(certificates):
    table = certificates(
        [
            (0, 0.0, "spectral", False, 10.0),
            (1, 0.0, "spectral", False, 20.0),
            (0, 0.5, "spectral", False, 12.0),  # above its twin, below the other seed's
            (1, 0.5, "spectral", False, 18.0),
            (0, 0.0, "path", True, 40.0),
            (1, 0.0, "path", True, 40.0),
            (0, 0.5, "path", True, 40.0),  # no larger is not larger
            (1, 0.5, "path", True, 30.0),
        ]
    )
    counts = {row["bound"]: row for row in audit(table).iter_rows(named=True)}
    assert (counts["spectral"]["with_twin"], counts["spectral"]["above_dense"]) == (2, 1)
    assert counts["spectral"]["largest_ratio"] == pytest.approx(1.2)
    assert (counts["path"]["with_twin"], counts["path"]["above_dense"]) == (2, 0)


def test_the_audit_counts_members_that_their_mask_made_worse(certificates):
    table = certificates([(0, 0.5, "path", True, 26.0), (1, 0.5, "path", True, 24.0)])
    row = audit(table).row(0, named=True)
    assert (row["with_unmasked"], row["above_unmasked"]) == (2, 1)
    assert (row["with_twin"], row["above_dense"], row["largest_ratio"]) == (0, 0, None)
    unknown = audit(table.with_columns(unmasked=pl.lit(None, pl.Float64))).row(0, named=True)
    assert (unknown["with_unmasked"], unknown["above_unmasked"]) == (0, 0)


def test_the_audit_leaves_out_what_diverged_and_its_twins(certificates):
    table = certificates([(seed, s, "path", True, 9.0) for seed in (0, 1) for s in (0.0, 0.5)])
    for member, twins in ((0, 1), (1, 1)):  # the dense and the pruned one of the seed 0
        row = audit(table.with_columns(diverged=pl.col("member") == member)).row(0, named=True)
        assert (row["with_twin"], row["with_unmasked"]) == (twins, 1)


def test_two_infinite_bounds_are_no_rise(certificates):
    table = certificates([(0, 0.0, "path", True, float("inf")), (0, 0.5, "path", True, float("inf"))])
    row = audit(table).row(0, named=True)
    assert (row["with_twin"], row["above_dense"], row["largest_ratio"]) == (1, 0, None)


def test_the_audit_refuses_two_dense_members_of_a_seed(certificates):
    table = certificates([(0, 0.0, "path", True, 1.0), (1, 0.0, "path", True, 1.0)])
    with pytest.raises(ValueError, match="several dense members share a seed"):
        audit(table.with_columns(seed=0 * table["seed"]))


def test_the_smallest_bound_is_no_estimate(certificates):
    table = certificates(
        [(0, 0.0, "path", True, 9.0), (0, 0.0, "interval", False, 4.0), (0, 0.0, "found", False, 1.0)]
    )
    assert smallest_bound(table, "delta")["bound"].to_list() == ["interval"]
    assert smallest_bound(table.filter("monotone"), "delta")["value"].to_list() == [9.0]
    assert smallest_bound(table, "tv").is_empty()


def test_categorical_policies_differ_by_a_range(certificates):
    table = certificates([(0, 0.0, "path", True, 9.0)])
    assert distance_quantity(table) == "delta"
    assert distance_quantity(table.with_columns(quantity=pl.lit("range"))) == "range"


def test_rises_and_falls_are_counted_at_states_and_at_members(states):
    rows = against_dense(
        states(
            [
                (0, 0.0, "crown", (1.0, 4.0), (0.5, 3.0)),
                (0, 0.5, "crown", (2.0, 2.0), (1.5, 1.0)),  # up at one state, down in the mean
                (1, 0.0, "crown", (1.0, 1.0), (0.5, 0.5)),
                (1, 0.5, "crown", (3.0, 1.0), (0.9, 0.9)),  # up in the mean, but nothing found proves it
            ]
        )
    )
    row = rows.row(0, named=True)
    assert rows.height == 1
    assert (row["states"], row["states_above"], row["states_below"]) == (4, 2, 1)
    # At the first state more was found on the pruned policy than the dense one's bound allows, at the second
    # less is possible than was found on the dense one.
    assert (row["proven_above"], row["proven_below"]) == (1, 1)
    assert (row["members"], row["members_above"], row["members_below"]) == (2, 1, 1)
    assert (row["members_proven_above"], row["members_proven_below"]) == (1, 1)
    assert row["largest_ratio"] == 3.0
    assert row["mean_ratio"] == pytest.approx(8 / 7)


def test_shares_are_taken_per_member_and_then_over_members(states):
    up, level = (2.0, 2.0, 2.0, 2.0), (1.0, 1.0, 1.0, 1.0)
    table = states(
        [
            *((seed, 0.0, "crown", level, level) for seed in (0, 1, 2)),
            (0, 0.5, "crown", up, level),
            (1, 0.5, "crown", (2.0, 1.0, 0.5, 0.5), level),
            # Of this member one state alone is known: it counts as much as the four of the others.
            (2, 0.5, "crown", level, level),
        ]
    ).filter((pl.col("seed") < 2) | (pl.col("state") == 0))
    row = against_dense(table).row(0, named=True)
    assert (row["states"], row["states_above"], row["states_below"]) == (9, 5, 2)
    assert row["share_above"] == pytest.approx((1 + 0.25 + 0) / 3)
    assert row["share_below"] == pytest.approx((0 + 0.5 + 0) / 3)
    shares = pl.DataFrame({"group": ["all"] * 3, "share": [1.0, 0.25, 0.0]})
    over_seeds = across_seeds(shares, ["group"], "share").row(0, named=True)
    assert row["seeds"] == over_seeds["seeds"] == 3
    assert row["share_above_low"] == pytest.approx(max(0, over_seeds["low"]))
    assert row["share_above_high"] == pytest.approx(min(1, over_seeds["high"]))


def test_one_seed_has_no_interval(states):
    rows = [(0, 0.0, "crown", (1.0,), (1.0,)), (0, 0.5, "crown", (2.0,), (1.0,))]
    row = against_dense(states(rows)).row(0, named=True)
    assert (row["share_above"], row["share_above_low"], row["share_above_high"]) == (1.0, None, None)


def test_the_balls_are_compared_each_by_itself(states):
    rows = [(0, 0.0, "crown", (1.0, 1.0), (0.5, 0.5)), (0, 0.5, "crown", (2.0, 2.0), (1.5, 0.5))]
    own = states(rows)
    smaller = pl.when(pl.col("sparsity_asked") > 0).then(0.4 * pl.col("value")).otherwise("value")
    dense = own.with_columns(ball=pl.lit("dense"), value=smaller, found=pl.lit(0.1))
    both = pl.concat([own, dense])
    table = {row["ball"]: row for row in against_dense(both).iter_rows(named=True)}
    assert (table["own"]["share_above"], table["own"]["proven_above"]) == (1.0, 1)
    assert (table["dense"]["share_above"], table["dense"]["proven_above"]) == (0.0, 0)
    means = at_the_same_states(both).filter(pl.col("sparsity_asked") > 0)
    assert dict(means.select("ball", "value").iter_rows()) == {"own": 2.0, "dense": 0.8}


@pytest.mark.parametrize(("gone", "left"), [((0, 0.5), {0.9: 2, 0.5: 1}), ((0, 0.0), {0.9: 1, 0.5: 1})])
def test_who_diverged_counts_in_no_pair(states, gone, left):
    rows = [
        (seed, sparsity, "crown", (1.0 + sparsity,), (1.0,))
        for seed in (0, 1)
        for sparsity in (0.0, 0.5, 0.9)
    ]
    seed, sparsity = gone
    fallen = (pl.col("seed") == seed) & (pl.col("sparsity_asked") == sparsity)
    table = states(rows).with_columns(diverged=fallen)
    assert dict(against_dense(table).select("sparsity_asked", "members").iter_rows()) == left
    assert at_the_same_states(table)["diverged"].sum() == 1


def test_a_bound_below_what_was_found_at_one_state_is_counted_though_the_means_hide_it(states):
    table = states([(0, 0.0, "crown", (1.0, 9.0, 9.0), (1.1, 1.0, 9.0))])
    means = at_the_same_states(table)
    assert means["value"][0] > means["found"][0]
    assert means["violated"].to_list() == [1]
    estimates = at_the_same_states(table.with_columns(kind=pl.lit("estimate")))
    assert estimates["violated"].to_list() == [None]


def test_a_member_without_a_dense_twin_is_not_audited(states):
    table = states([(0, 0.5, "crown", (2.0, 2.0), (1.0, 1.0))])
    assert against_dense(table).is_empty()


def test_tightness_is_the_ratio_of_means_and_unknown_where_nothing_was_found(states):
    table = states(
        [
            (0, 0.0, "crown", (2.0, 4.0), (1.0, 2.0)),
            (0, 0.5, "crown", (1.0, 1.0), (0.0, 0.0)),
        ]
    )
    means = at_the_same_states(table)
    assert means["tightness"].to_list() == [2.0, None]
    assert means["value"].to_list() == [3.0, 1.0]
    assert means["states"].to_list() == [2, 2]
