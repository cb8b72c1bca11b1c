import polars as pl
import pytest

from jaxprune.analysis import CERTIFICATES, CURVES, RESULTS, family_of, validate


@pytest.fixture(scope="module")
def table(results):
    return results([(0, 0.0, 100, {"mad": 50}), (0, 0.5, 90, {"mad": 60})])


def test_a_good_table_comes_back_as_it_is(table):
    assert validate(table, "results") is table


def test_empty_tables_are_well_formed():
    for name, schema in {"results": RESULTS, "certificates": CERTIFICATES, "curves": CURVES}.items():
        assert validate(schema.to_frame(), name).is_empty()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda table: table.drop("eps"), r"missing columns \['eps'\]"),
        (lambda table: table.with_columns(epsilon=0.1), r"unknown columns \['epsilon'\]"),
        (lambda table: table.cast({"eps": pl.Float32}), r"results\.eps: type Float32, expected Float64"),
        (
            lambda table: table.with_columns(return_mean=pl.lit(float("nan"))),
            r"return_mean: 4 values .* \[0, 1\]",
        ),
        (lambda table: table.with_columns(attack=pl.lit(None, pl.String)), "attack: 4 values are null"),
        (lambda table: pl.concat([table, table]), "8 rows share a key"),
    ],
)
def test_a_bad_table_is_refused_with_the_place_of_its_fault(table, broken, message):
    with pytest.raises(ValueError, match=message):
        validate(broken(table), "results")


def test_an_infinite_bound_is_a_bound_and_nan_is_not(certificates):
    row = (0, 0.0, "path", True, float("inf"))
    validate(certificates([row]), "certificates")
    with pytest.raises(ValueError, match="value: 1 values are null or NaN"):
        validate(certificates([(*row[:4], float("nan"))]), "certificates")


def test_family_of_refuses_a_mixture(table, results):
    assert family_of(table)["schedule"] == "posthoc"
    other = results([(0, 0.0, 100, {})], schedule="micro")
    with pytest.raises(ValueError, match="2 combinations of task"):
        family_of(pl.concat([table, other]))
