import polars as pl
import pytest

from jaxprune.analysis import audit, distance_quantity, smallest_bound


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
