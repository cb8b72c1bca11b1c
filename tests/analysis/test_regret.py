import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxprune.analysis import STRONGEST, decompose, strongest, without_diverged

RETURNS = st.floats(-1e4, 1e4)


@pytest.fixture(scope="module")
def two_members(results):
    return results([(0, 0.0, 100, {"random": 90, "mad": 40}), (0, 0.5, 120, {"random": 70, "mad": 80})])


def one(table, **where):
    rows = table.filter(**where)
    assert rows.height == 1
    return rows.row(0, named=True)


def test_terms_computed_by_hand(two_members):
    row = one(decompose(two_members), member=1, attack="mad")
    expected = {
        "best_return": 120,
        "clean_return": 120,
        "attacked_return": 80,
        "dense_clean_return": 100,
        "dense_attacked_return": 40,
        "clean_regret": 20,
        "pruning_loss": -20,
        "robustness_gap": 40,
        "total": 40,
        "robustness_gain": 20,
        "normalised_clean": 1,
        "normalised_attacked": pytest.approx(2 / 3),
    }
    assert {name: row[name] for name in expected} == expected


def test_the_strongest_attack_is_each_members_own(two_members):
    regret = decompose(two_members)
    dense, pruned = (one(regret, member=member, attack=STRONGEST) for member in (0, 1))
    assert (dense["attacked_return"], dense["found_by"]) == (40, "mad")
    assert (pruned["attacked_return"], pruned["found_by"]) == (70, "random")
    assert pruned["attackers_tried"] == 4
    # The dense twin stands under its own strongest attack, not under the one that was strongest here.
    assert pruned["robustness_gain"] == (100 - 40) - (120 - 70)


def test_each_budget_has_its_own_strongest_attack(results):
    members = [(0, 0.0, 100, {"random": 90, "mad": 40})]
    weak, clean = results(members, eps=0.1), results(members, eps=0.2)
    both = pl.concat(
        [weak, clean.filter(pl.col("attack") != "none").with_columns(selection_mean=pl.lit(10.0))]
    )
    found = strongest(both).select("eps", "return_mean", "found_by").rows()
    assert found == [(0.1, 40.0, "mad"), (0.2, 40.0, "mad")]


def test_the_strongest_attack_is_chosen_on_other_episodes_than_it_is_measured_on(results):
    members = [
        (0, 0.0, 100, {"random": (60, 50), "mad": (40, 55)}),
        (0, 0.5, 100, {"zeta": 30, "mad": (70, 30)}),
    ]
    dense, pruned = strongest(results(members)).iter_rows(named=True)
    assert (dense["found_by"], dense["return_mean"], dense["selection_mean"]) == ("random", 60, 50)
    assert (pruned["found_by"], pruned["return_mean"]) == ("mad", 70)  # a tie goes to the first name
    row = one(decompose(results(members)), member=1, attack=STRONGEST)
    assert (row["attacked_return"], row["dense_attacked_return"], row["robustness_gain"]) == (70, 60, 10)


def test_the_best_policy_is_chosen_on_other_episodes_than_it_is_measured_on(results):
    members = [(0, 0.0, (100, 120), {"mad": 50}), (0, 0.5, (130, 110), {"mad": 60})]
    pruned = one(decompose(results(members)), member=1, attack="mad")
    assert (pruned["best_return"], pruned["clean_regret"], pruned["total"]) == (100, 0, 40)
    assert pruned["normalised_clean"] == pytest.approx(1.3)
    # The terms may be negative, and add up all the same.
    assert pruned["pruning_loss"] == -30
    assert pruned["clean_regret"] + pruned["pruning_loss"] + pruned["robustness_gap"] == pruned["total"]


def test_a_diverged_member_is_not_the_best_and_marks_all_that_it_is_the_twin_of(results):
    members = [
        (0, 0.0, 900, {"mad": 50}),
        (0, 0.5, 100, {"mad": 60}),
        (1, 0.0, 80, {"mad": 50}),
        (1, 0.5, 90, {"mad": 60}),
    ]
    regret = decompose(results(members, diverged={0})).filter(attack=STRONGEST).sort("member")
    assert regret["best_return"].to_list() == [100] * 4
    assert regret["diverged"].to_list() == [True, True, False, False]
    regret = decompose(results(members, diverged={1})).filter(attack=STRONGEST).sort("member")
    assert regret["diverged"].to_list() == [False, True, False, False]
    assert without_diverged(regret)["member"].to_list() == [0, 2, 3]
    assert without_diverged(results(members, diverged={0}))["member"].unique().to_list() == [2, 3]


def test_where_all_have_diverged_there_is_no_best(results):
    regret = decompose(results([(0, 0.0, 900, {"mad": 50})], diverged={0}))
    row = one(regret, attack=STRONGEST)
    assert (row["best_return"], row["total"], row["normalised_clean"]) == (None, None, None)
    assert row["robustness_gap"] == 850


@given(best=RETURNS, dense=RETURNS, clean=RETURNS, attacked=RETURNS)
def test_the_terms_add_up_to_the_total(results, best, dense, clean, attacked):
    members = [(0, 0.0, dense, {"mad": dense - 1}), (0, 0.5, clean, {"mad": attacked})]
    row = one(decompose(results(members), best_return=best), member=1, attack="mad")
    assert row["total"] == best - attacked
    parts = row["clean_regret"] + row["pruning_loss"] + row["robustness_gap"]
    assert parts == pytest.approx(row["total"], abs=1e-10)


def test_twins_have_the_same_seed(results):
    members = [
        (0, 0.0, 100, {"mad": 50}),
        (1, 0.0, 200, {"mad": 60}),
        (0, 0.5, 90, {"mad": 55}),
        (1, 0.5, 180, {"mad": 70}),
    ]
    regret = decompose(results(members)).filter(attack="mad")
    assert regret.sort("member")["pruning_loss"].to_list() == [0, 0, 10, 20]


def test_without_a_dense_twin_its_terms_are_null(results):
    row = one(decompose(results([(0, 0.5, 90, {"mad": 50})])), attack="mad")
    missing = (
        "dense_clean_return",
        "dense_attacked_return",
        "clean_regret",
        "pruning_loss",
        "robustness_gain",
    )
    assert all(row[name] is None for name in missing)
    assert (row["robustness_gap"], row["total"]) == (40, 40)


def test_returns_are_not_normalised_by_a_best_return_that_is_not_positive(results):
    row = one(decompose(results([(0, 0.0, -5, {"mad": -9})])), attack="mad")
    assert row["normalised_clean"] is None
    assert row["total"] == 4


def test_the_best_return_is_that_of_the_environment(results):
    both = pl.concat(
        [
            results([(0, 0.0, 100, {"mad": 50})]),
            results([(0, 0.0, 900, {"mad": 50})], physics="native").with_columns(member=pl.lit(1, pl.Int64)),
        ]
    )
    best = decompose(both).filter(attack="mad").sort("member")["best_return"]
    assert best.to_list() == [100, 900]
    with pytest.raises(ValueError, match=r"best_return=5\.0: one number for 2 environments"):
        decompose(both, best_return=5.0)


def test_without_attacks_there_are_no_rows(results):
    assert decompose(results([(0, 0.0, 100, {})])).is_empty()


def test_members_that_cannot_be_told_apart_are_refused(results):
    with pytest.raises(ValueError, match=r"members \[0, 1\] share seed"):
        decompose(results([(0, 0.5, 1, {"mad": 0}), (0, 0.5, 2, {"mad": 0})]))


def test_a_member_without_clean_episodes_is_refused(two_members):
    with pytest.raises(ValueError, match=r"members \[1\] have no row with attack 'none'"):
        decompose(two_members.filter(~((pl.col("member") == 1) & (pl.col("attack") == "none"))))
