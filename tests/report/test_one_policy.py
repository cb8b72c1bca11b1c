"""The verdict on one policy: tables that were made up, and sentences that follow from them."""

import polars as pl
import pytest

from jaxprune.report.one_policy import attack_words, overview, policy_words
from tests.report.texts import whole

SPARSITIES = (0.0, 0.5, 0.9)


def results(clean, attacked, half_width=1.0, tried=1):
    """Returns by sparsity; "mad" is strongest everywhere, and the selection episodes say something else."""
    rows = []
    for member, sparsity in enumerate(SPARSITIES[: len(clean)]):
        for attack, mean in (
            ("none", clean[member]),
            ("mad", attacked[member]),
            ("strongest", attacked[member]),
        ):
            for episode_set, value in (("selection", -1e6), ("fresh", mean)):
                rows.append(
                    {
                        "member": member,
                        "sparsity": sparsity,
                        "attack": attack,
                        "found_by": "none" if attack == "none" else "mad",
                        "norm": "linf",
                        "space": "normalised",
                        "eps": 0.0 if attack == "none" else 0.1,
                        "episode_set": episode_set,
                        "episodes": 8 if episode_set == "fresh" else 5,
                        "return_mean": float(value),
                        "return_low": value - half_width,
                        "return_high": value + half_width,
                        "attackers_tried": 0 if attack == "none" else tried,
                        "outside_ball": 0,
                    }
                )
    return pl.DataFrame(rows)


def members(crown, violated=0):
    """Bounds by sparsity, in two balls."""
    return pl.DataFrame(
        [
            {"member": m, "ball": ball, "bound": bound, "quantity": "delta_dense"}
            | {"value": times * value, "violated": violated}
            for m, value in enumerate(crown)
            for ball, times in (("own", 1.0), ("dense", 100.0))
            for bound, value in (("path", 5.0), ("crown", value))
        ]
    )


def limits(certified, blocks):
    """Certified returns by sparsity."""
    return pl.DataFrame(
        {
            "member": range(len(certified)),
            "eps": 0.01,
            "confidence": 0.95,
            "lowest": 0.0,
            "mean_max_lowest": 100.0,
            "certified_mean": certified,
            "mean_blocks": 200.0,
            "certified_blocks": blocks,
        }
    )


def said(certificates, clean, attacked, crown=(1.0, 2.0, 0.5), returned=None, **about):
    words = policy_words(
        results=results(clean, attacked, **about),
        members=members(crown[: len(clean)]),
        certificates=certificates,
        attacked_returns=returned,
    )
    return words, " ".join(words.lines)


@pytest.fixture(name="certificates")
def _certificates(synthetic):
    return synthetic.certificates(1)


def test_every_row_holds_the_fresh_returns_and_the_bounds_of_the_policys_own_ball():
    rows = overview(
        results((100, 99, 50), (10, 30, 20)), members((1.0, 2.0, 0.5)), limits([9.0] * 3, [8.0] * 3)
    )
    assert rows.select(
        "sparsity", "clean", "attacked", "path", "crown", *("certified_mean", "certified_blocks"), "found_by"
    ).rows() == [
        (0.0, 100.0, 10.0, 5.0, 1.0, 9.0, 8.0, "mad"),
        (0.5, 99.0, 30.0, 5.0, 2.0, 9.0, 8.0, "mad"),
        (0.9, 50.0, 20.0, 5.0, 0.5, 9.0, 8.0, "mad"),
    ]


def test_pruning_that_costs_nothing_and_helps_is_named(certificates):
    _, text = said(certificates, (100, 95, 94), (10, 13, 40))
    assert "verdict: pruned at 0.50 the policy keeps its clean return, and returns more under these" in text
    assert "95 % of the dense policy's 100 at 0.50; 94.0 at 0.90" in text
    assert "leaves 10.0 of 100 dense, and pruned at best 40.0 of 94.0 (at 0.90)" in text
    assert "higher at 0.50, 0.90, lower nowhere" in text
    assert (
        "raised the mean bound on how far the action can be moved at 0.50; dense 1.00, 0.500 at 0.90" in text
    )


def test_intervals_that_touch_show_nothing(certificates):
    _, text = said(certificates, (100, 99, 98), (10, 12, 8), half_width=1.0)
    assert "no pruning that keeps the clean return is shown to return more under these attacks" in text
    assert "higher nowhere, lower nowhere" in text
    _, text = said(certificates, (100, 99, 98), (10, 9, 7.9))
    assert "higher nowhere, lower at 0.90" in text


def test_a_negative_return_may_lose_a_twentieth_of_its_size_too(certificates):
    _, text = said(certificates, (-100, -104, -106), (-200, -200, -200))
    assert "dense policy's -100 at 0.50; -106 at 0.90" in text


def test_pruning_that_always_costs_is_said_to(certificates):
    words, text = said(certificates, (100, 90, 10), (10, 40, 5))
    assert "verdict: every pruning costs more than 5 % of the clean return" in text
    assert [column.header for column in words.tables[0].columns][-2:] == ["CROWN\nbound", "strongest\nattack"]


def test_what_is_certified_of_the_dense_policy_and_at_most(certificates):
    _, text = said(certificates, (100, 99, 50), (10, 30, 20), returned=limits([20.0, 30.0, 1.0], [0.0] * 3))
    assert (
        "certified, eps 0.01 at every step, sampled actions, confidence 0.95 of all together: 20.0 of 100"
        in text
    )
    assert "dense, at most 30.0 of 100 (at 0.50)" in text
    # 50 of 200 is a smaller share than 30 of 100, and 80 of 200 a larger one
    more, most = (limits([20.0, 30.0, 30.0], [blocks] * 3) for blocks in (50.0, 80.0))
    _, text = said(certificates, (100, 99, 50), (10, 30, 20), returned=more)
    assert "of all together: 20.0 of 100 dense" in text
    _, text = said(certificates, (100, 99, 50), (10, 30, 20), returned=most)
    assert "of all together, by blocks: 80.0 of 200 dense" in text
    for little in (0.0, 6e-6, 0.99):
        _, text = said(certificates, (100, 99, 50), (10, 30, 20), returned=limits([little] * 3, [0.0] * 3))
        assert "together: less than 1% of any clean mean; a smaller --return-eps" in text


def test_one_policy_alone_is_compared_with_nothing(certificates):
    _, text = said(certificates, (100,), (10,))
    assert "verdict" not in text and "CROWN" not in text
    assert "attacked: the strongest of mad, chosen on other episodes, leaves 10.0 of 100" in text


def test_alarms_say_what_is_wrong():
    words = attack_words(results((100, 99), (10, 30)).with_columns(outside_ball=1))
    # 2 members x 3 attacks x 2 episode sets
    assert words.alarms == ["WRONG: 12 perturbations outside the ball: the attacked returns do not count"]
    assert attack_words(results((100, 99), (10, 30))).alarms == []


def test_bounds_that_were_violated_are_an_alarm(certificates):
    wrong = policy_words(
        results=results((100, 99), (10, 30)).with_columns(outside_ball=1),
        members=members((1.0, 2.0), violated=3),
        certificates=certificates,
        attacked_returns=None,
    )
    # 2 members x 2 balls x 2 bounds
    assert "24 states" in wrong.alarms[0] and "12 perturbations" in wrong.alarms[1]


def test_a_policy_that_was_attacked_only_has_its_intervals_in_the_table():
    words = attack_words(results((100, 99, 50), (10, 30, 20)))
    text = " ".join(whole(words).split())
    assert "0.50 99.0 98.0..100 30.0 29.0..31.0 mad 1" in text
    assert "verdict: pruned at 0.50 the policy keeps its clean return, and returns more under these" in text
    assert "one policy: intervals are over its 8 episodes" in words.lines[-1]
