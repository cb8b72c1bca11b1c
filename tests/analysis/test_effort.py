import numpy as np
import polars as pl
import pytest

from jaxprune.analysis import EFFORT, RUNGS, strongest_by_steps

STEPS = (100, 200, 400, 800)


def rungs(first, second, member=0, attack="sa-rl", steps=STEPS):
    """Of returns [attacker, rung] on both halves; NaN where an attacker is no longer there."""
    rows = [
        (member, attack, rung + 1, attacker, steps[rung], "rung", (a + b) / 2, a, b)
        for rung in range(len(first[0]))
        for attacker in range(len(first))
        if not np.isnan(a := first[attacker][rung]) and not np.isnan(b := second[attacker][rung])
    ]
    return pl.DataFrame(rows, schema=RUNGS, orient="row")


def test_what_is_chosen_on_one_half_is_measured_on_the_other():
    nan = np.nan
    first = [[5.0, 4.0], [3.0, nan], [9.0, 1.0], [8.0, nan]]
    second = [[6.0, 2.0], [7.0, nan], [4.0, 8.0], [9.0, nan]]
    table = strongest_by_steps(rungs(first, second))
    assert table.schema == EFFORT
    # rung 1: the first half chooses 1, which has 7 on the second; the second chooses 2, which has 9
    # rung 2: of all there were, the first chooses 2 as it is now (8), the second 0 as it is now (4)
    assert table["return_mean"].to_list() == [8.0, 6.0]
    assert table["steps"].to_list() == [100, 200]
    assert table["total_steps"].to_list() == [400, 400 + 200]
    assert table["attackers"].to_list() == [4, 2]
    assert not table["extrapolated"].any()  # two points are no curve


def test_an_attacker_that_grows_weaker_counts_as_it_was():
    first, second = [[9.0, 8.0, 3.0], [1.0, 5.0, 7.0]], [[8.0, 9.0, 4.0], [2.0, 6.0, 8.0]]
    table = strongest_by_steps(rungs(first, second, steps=STEPS[:3]))
    # the second attacker after its first rung, whatever came later of it or of the other
    assert table["return_mean"].to_list()[:3] == [1.5, 1.5, 1.5]
    assert table.row(-1, named=True)["return_mean"] == 1.5


def test_noise_alone_makes_no_attacker_look_strong():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(2, 40, 16, 1))
    found = pl.concat(
        strongest_by_steps(rungs(first, second, member))
        for member, (first, second) in enumerate(zip(*noise, strict=True))
    )
    assert abs(found["return_mean"].mean()) < 0.35  # three standard errors
    assert np.mean(noise[0].min(axis=1)) < -1.5


@pytest.mark.parametrize("exponent", [0.1, 2.0])
def test_a_curve_of_the_assumed_form_is_continued_exactly(exponent):
    curve = 50 + 30 * (np.array(STEPS) / 800.0) ** -exponent
    table = strongest_by_steps(rungs([curve] * 3, [curve] * 3))
    last = table.row(-1, named=True)
    assert last["extrapolated"] and last["steps"] == 1600
    assert last["return_mean"] == pytest.approx(50 + 30 * 2.0**-exponent, rel=1e-6)
    # all attackers are alike, so no resample differs
    np.testing.assert_allclose(table["return_low"], table["return_high"])
    assert last["total_steps"] == 3 * 800 + 3 * 800


@pytest.mark.parametrize(
    ("returns", "wanted"),
    [
        ([50.0, 30.0, 20.0], 15.0),  # 20, 10, and then 5
        ([50.0, 40.0, 20.0], 0.0),  # 10, 20, and no more than 20 again
        ([30.0, 40.0, 20.0], 10.0),  # weaker in between, so 0 and 10, and no more than 10 again
        ([50.0, 20.0, 30.0], 20.0),  # weaker at last: what it was, and nothing more
        ([50.0, 20.0, 20.0], 20.0),
    ],
)
def test_another_doubling_brings_its_share_of_the_last(returns, wanted):
    table = strongest_by_steps(rungs([[99.0, *returns]], [[99.0, *returns]]))
    assert table.row(-1, named=True)["return_mean"] == pytest.approx(wanted)


def test_the_interval_tells_how_much_hangs_on_one_setting():
    """One of eight is strong; (7/8)^8 = 34 % of resamples lack it."""
    first = [[0.0] * 4] + [[10.0] * 4] * 7
    table = strongest_by_steps(rungs(first, first))
    assert table["return_mean"].to_list() == [0.0] * 5
    assert table["return_low"].to_list() == [0.0] * 5
    assert table["return_high"].to_list() == [10.0] * 5


def test_members_and_attacks_have_curves_of_their_own():
    flat = [[3.0, 3.0]]
    both = pl.concat([rungs(flat, flat), rungs([[1.0]], [[2.0]], member=1, attack="pa-ad")])
    rows = strongest_by_steps(both).select("member", "attack", "return_mean").rows()
    assert rows == [(0, "sa-rl", 3.0), (0, "sa-rl", 3.0), (1, "pa-ad", 1.5)]
