"""A bound that the library does not know is listed by a test, and is in every table by that alone."""

import numpy as np
import polars as pl
import pytest

import jaxprune as jp
from jaxprune import certification, envs
from jaxprune.bounds import Bound, Change, interval_bound, path_bound
from jaxprune.budget import Budget
from jaxprune.certification import CertificationSpec, SmoothingSpec
from jaxprune.population import Population
from jaxprune.report.audit import alarm_lines
from tests import lines
from tests.bounds.cases import listed

QUICK = {"states": 3, "starts": 1, "search_steps": 1, "episodes": 2}


def times(factor: float, change: Change) -> Change:
    return Change(factor * change.euclidean, factor * change.span)


def twice_the_path(layers, eps, **kind):
    return times(2.0, path_bound(layers, eps, **kind))


def thrice_the_interval(layers, x, eps, **kind):
    return times(3.0, interval_bound(layers, x, eps, **kind))


def more_than_the_interval(layers, x, eps, *, rounds, **kind):
    return times(1.0 + 1.0 / rounds, interval_bound(layers, x, eps, **kind))


EVERYWHERE = Bound("twice", "twice the path bound", twice_the_path, monotone=True)
CHEAP = Bound("thrice", "three times the interval bound", thrice_the_interval, local=True)
COSTLY = Bound(
    "more",
    "a bit more than the interval bound",
    more_than_the_interval,
    local=True,
    cheap=False,
    effort=5,
    unit="rounds",
)
ELSEWHERE = Bound("no-tanh", "of no tanh", twice_the_path, holds_for=lambda f: f.limit > 1)


def population() -> Population:
    return Population.of_pruned(lines.agent(), envs.make("probe/linear"), "0,0.5", Budget(0.1))


@pytest.fixture(name="found", scope="module")
def _found():
    with listed(EVERYWHERE), listed(CHEAP), listed(COSTLY), listed(ELSEWHERE):
        spec = CertificationSpec(bounds="interval,thrice,more:4", **QUICK)
        return certification.run(spec, SmoothingSpec(), population())


def of(table: pl.DataFrame, bound: str) -> pl.DataFrame:
    return table.filter(pl.col("bound") == bound)


def test_the_certificates_hold_what_is_cheap(found):
    table = found.certificates
    for quantity in ("delta", "delta_action", "delta_dense", "tv"):
        assert {"twice", "thrice"} <= set(table.filter(quantity=quantity)["bound"]), quantity
    assert not {"more", "no-tanh"} & set(table["bound"])
    distances = table.filter(quantity="delta")
    for name, factor, known, monotone in (("twice", 2, "path", True), ("thrice", 3, "interval", False)):
        mine, theirs = of(distances, name), of(distances, known)
        assert mine["monotone"].to_list() == [monotone] * 2
        assert mine["kind"].to_list() == ["bound"] * 2 and mine["violated"].to_list() == [0] * 2
        for column in ("value", "unmasked"):
            np.testing.assert_allclose(mine[column], factor * theirs[column], rtol=1e-5)


def test_the_states_hold_what_is_asked_for_with_its_effort(found):
    table = found.states
    assert {"twice", "thrice", "more"} < set(table["bound"]) and "no-tanh" not in set(table["bound"])
    local = of(table, "interval")["value"]
    np.testing.assert_allclose(of(table, "thrice")["value"], 3 * local, rtol=1e-5)
    np.testing.assert_allclose(of(table, "more")["value"], (1 + 1 / 4) * local, rtol=1e-5)
    marks = dict(table.select("bound", "monotone").unique().iter_rows())
    assert (marks["twice"], marks["thrice"], marks["more"], marks["tightest"]) == (True, False, False, False)
    assert {"twice", "thrice", "more"} < set(found.members["bound"]) & set(found.audit["bound"])
    assert not [*alarm_lines(table)]


def test_a_spec_reads_it_while_it_is_listed():
    with listed(COSTLY), listed(CHEAP):
        assert CertificationSpec(bounds="more").bounds == ("more:5",)
        spec = CertificationSpec(bounds="thrice,more:4")
        assert spec.local["more"].in_words() == "more (4 rounds)"
        assert spec.to_dict()["bounds"] == ("thrice", "more:4")
        for bad, said in (
            ("more:0", "bounds: 'more' needs a whole number of rounds from 1 to"),
            ("thrice:2", "bounds: 'thrice' has no effort to choose"),
            ("moer", "did you mean 'more'"),
        ):
            with pytest.raises(jp.SpecError, match=said):
                CertificationSpec(bounds=bad)
    with pytest.raises(jp.SpecError, match="unknown name 'more'"):
        CertificationSpec(bounds="more")


def test_one_that_does_not_hold_for_the_networks_is_refused_where_it_is_asked_for():
    steep = Bound("steep", "of no tanh", thrice_the_interval, local=True, holds_for=lambda f: f.limit > 1)
    with listed(steep):
        spec = CertificationSpec(bounds="interval,steep", **QUICK)
        with pytest.raises(jp.SpecError, match="bounds: 'steep' does not hold for 'tanh' networks"):
            spec.applied_to(population())
