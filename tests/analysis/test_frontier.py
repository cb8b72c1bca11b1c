import numpy as np
import polars as pl
import pytest

from jaxprune.analysis import SWEET, WORSE, adjusted_p, best_average_score, decompose, sweet_spots

SIX = range(6)


def judged(results, members, **table):
    """The verdicts on what was pruned, and the placebo, of a table of members."""
    spots = sweet_spots(decompose(results(members, **table)))
    return spots.filter(~pl.col("placebo")), spots.filter("placebo")


def six_seeds(clean, attacked):
    """Dense members of return 100 and 50 under attack, and pruned ones of the returns given."""
    dense = [(seed, 0.0, 100, {"mad": 50}) for seed in SIX]
    pruned = [(seed, 0.5, *returns) for seed, returns in enumerate(zip(clean, attacked, strict=True))]
    return dense + [(seed, sparsity, one, {"mad": other}) for seed, sparsity, one, other in pruned]


KEPT = (98, 99, 101, 100, 99, 102)


@pytest.mark.parametrize(
    ("clean", "attacked", "verdict"),
    [
        (KEPT, (60, 55, 70, 62, 58, 61), "sweet"),
        (KEPT, (60, 45, 70, 62, 58, 61), "not shown"),  # one seed is worse under attack
        (
            (98, 94, 101, 100, 99, 102),
            (60, 55, 70, 62, 58, 61),
            "not shown",
        ),  # one lost 6 % of its clean return
        ((60,) * 6, (60, 55, 70, 62, 58, 61), "not shown"),  # the clean return is significantly lower
        (KEPT, (40, 45, 30, 38, 42, 39), "worse"),
        ((60,) * 6, (40, 45, 30, 38, 42, 39), "worse"),
        ((100,) * 6, (50,) * 6, "not shown"),  # nothing differs
        ((95.5,) * 6, (51,) * 6, "sweet"),  # all differences equal
    ],
)
def test_sweet_spots_by_the_rule(results, clean, attacked, verdict):
    spots, _ = judged(results, six_seeds(clean, attacked))
    row = spots.row(0, named=True)
    assert row["verdict"] == verdict
    assert (row["seeds"], row["clean_margin"]) == (6, -5)
    assert row["attacked_difference"] == pytest.approx(sum(attacked) / 6 - 50)
    assert row["attacked_sd"] == pytest.approx(np.std(attacked, ddof=1))
    # t with 5 degrees of freedom, uncorrected
    reach = 2.5705818 * np.std(attacked, ddof=1) / np.sqrt(6)
    middle = sum(attacked) / 6 - 50
    assert (row["attacked_low"], row["attacked_high"]) == pytest.approx((middle - reach, middle + reach))


def test_p_values_computed_by_hand(results):
    # There are 32 flips up to mirror images. The attacked differences, all 10, have S = sqrt(6) = 2.449,
    # which only the identity reaches: p = 1/32. The clean contrasts, clean - 95, are 3, 4, 6, 5, 4 and -2, of
    # sum 20 and squares that add up to 106, so S = 1.943. Turning the last gives the sum 24, turning the
    # first 14 and both 18. With one flip the attacked ones have S = 4/6 sqrt(6) = 1.633. So p = 2/32.
    spots, _ = judged(results, six_seeds((98, 99, 101, 100, 99, 93), (60,) * 6))
    row = spots.row(0, named=True)
    assert (row["attacked_p"], row["clean_p"]) == (1 / 32, 2 / 32)
    assert row["verdict"] == "not shown"


def test_all_sparsities_and_budgets_are_one_family(results):
    rng = np.random.default_rng(3)
    returns = rng.normal(size=(2, 3, 7)) * 30 + np.array([0, 40, 0])[:, None]  # budget, sparsity, seed
    clean = rng.normal(size=(3, 7)) * 4 + 100
    tables = [
        results(
            [
                (seed, 0.3 * sparsity, clean[sparsity, seed], {"mad": returns[budget, sparsity, seed]})
                for seed in range(7)
                for sparsity in range(3)
            ],
            eps=eps,
        )
        for budget, eps in enumerate((0.1, 0.2))
    ]
    both = pl.concat([tables[0], tables[1].filter(pl.col("attack") != "none")])
    spots = sweet_spots(decompose(both)).filter(~pl.col("placebo")).sort("eps", "sparsity_asked")
    attacked = (returns[:, 1:] - returns[:, :1]).transpose(2, 0, 1).reshape(7, 4)
    kept = (clean[1:] - clean[0] + 0.05 * np.abs(clean[0])).T
    p = adjusted_p(np.concatenate([attacked, kept], axis=1))
    assert spots["attacked_p"].to_list() == p[:4].tolist()
    assert spots["clean_p"].to_list() == [*p[4:], *p[4:]]


def test_differences_are_paired_by_seed(results):
    members = [(0, 0.0, 100, {"mad": 10}), (1, 0.0, 1000, {"mad": 900})]
    members += [(1, 0.5, 1000, {"mad": 905}), (0, 0.5, 100, {"mad": 15})]
    spots, _ = judged(results, members)
    assert spots.select("attacked_low", "attacked_high", "attacked_sd").row(0) == (5, 5, 0)


@pytest.mark.parametrize(("seeds", "said"), [(1, "1 seed"), (2, "2 seeds"), (5, "5 seeds")])
def test_below_six_seeds_nothing_is_decided(results, seeds, said):
    spots, _ = judged(results, [row for row in six_seeds(KEPT, (90,) * 6) if row[0] < seeds])
    row = spots.row(0, named=True)
    assert row["verdict"] == f"undecided ({said}, 6 needed)"
    assert (row["attacked_difference"], row["attacked_p"], row["clean_p"]) == (40, None, None)
    assert (row["attacked_low"] is None) == (seeds == 1)


def test_without_a_dense_twin_nothing_is_decided(results):
    spots, placebo = judged(results, [(0, 0.5, 200, {"mad": 190})])
    assert spots.select("verdict", "seeds").row(0) == ("undecided (no dense twin)", 0)
    assert placebo.is_empty()


def test_the_margin_of_a_negative_return_is_still_a_loss(results):
    dense = [(seed, 0.0, -100, {"mad": -200}) for seed in SIX]
    pruned = [(seed, 0.5, -104, {"mad": -150 - seed}) for seed in SIX]
    spots, _ = judged(results, dense + pruned)
    assert spots.select("clean_margin", "verdict").row(0) == (-5, "sweet")


def test_a_diverged_member_is_left_out_with_its_pair(results):
    six = six_seeds(KEPT, (60, 55, 70, 62, 58, 61))
    seven = [*six, (6, 0.0, 100, {"mad": 50}), (6, 0.5, 100, {"mad": 0})]
    spots, _ = judged(results, seven)
    assert spots["verdict"].to_list() == ["not shown"]
    for diverged in (12, 13):  # the dense or the pruned one of the seed 6
        spots, _ = judged(results, seven, diverged={diverged})
        assert spots.select("seeds", "verdict").row(0) == (6, "sweet")
    spots, _ = judged(results, six, diverged={0})
    assert spots["verdict"].to_list() == ["undecided (5 seeds, 6 needed)"]
    spots, _ = judged(results, [(0, 0.0, 100, {"mad": 50}), (0, 0.5, 100, {"mad": 50})], diverged={0})
    assert spots["verdict"].to_list() == ["undecided (0 seeds, 6 needed)"]


def test_a_sparsity_with_too_few_pairs_is_no_part_of_the_family(results):
    members = six_seeds(KEPT, (60, 55, 70, 62, 58, 61))
    alone, _ = judged(results, members)
    few, _ = judged(results, members + [(seed, 0.9, 10, {"mad": 5 + seed}) for seed in range(5)])
    assert few.row(0) == alone.row(0)
    assert few.row(1, named=True)["verdict"] == "undecided (5 seeds, 6 needed)"


def test_families_share_the_error_and_need_more_seeds(results):
    one = results(six_seeds(KEPT, (60, 55, 70, 62, 58, 61)))
    other = results(six_seeds(KEPT, (60, 55, 70, 62, 58, 61)), schedule="micro")
    both = pl.concat([one, other.with_columns(pl.col("member") + 100)])
    spots = sweet_spots(decompose(both)).filter(~pl.col("placebo"))
    assert spots["verdict"].to_list() == ["undecided (6 seeds, 7 needed)"] * 2
    seventh = both.filter(seed=5).with_columns(pl.col("member") + 50, seed=pl.lit(6, pl.Int64))
    spots = sweet_spots(decompose(pl.concat([both, seventh]))).filter(~pl.col("placebo"))
    assert spots["attacked_p"].to_list() == [2 / 64] * 2
    assert spots["verdict"].to_list() == [SWEET] * 2


def test_the_placebo_is_dense_against_dense_in_disjoint_pairs(results):
    dense = [(seed, 0.0, 100 + seed**2, {"mad": 10 * seed**2}) for seed in (1, 2, 4, 7, 9)]
    _, placebo = judged(results, [*dense, (1, 0.5, 100, {"mad": 0})])
    row = placebo.row(0, named=True)
    # Seeds 1 - 2 and 4 - 7; the ninth has no partner.
    assert (row["seeds"], row["sparsity_asked"], row["attacked_difference"]) == (2, 0, (-30 - 330) / 2)
    assert (row["clean_difference"], row["clean_margin"]) == (-18, pytest.approx(-0.05 * (104 + 149) / 2))
    assert row["verdict"] == "undecided (2 pairs, 6 needed)"
    _, placebo = judged(results, [*dense, (1, 0.5, 100, {"mad": 0})], diverged={1})  # the seed 2
    assert placebo.row(0, named=True)["attacked_difference"] == 10 * (1 - 16 + 49 - 81) / 2


def test_the_placebo_is_tested_by_the_same_rule_and_changes_no_other_p(results):
    rng = np.random.default_rng(0)
    members = [
        (seed, sparsity, 100, {"mad": rng.normal() - 5 * (sparsity == 0) * (seed % 2)})
        for seed in range(12)
        for sparsity in (0.0, 0.5)
    ]
    spots, placebo = judged(results, members)
    row = placebo.row(0, named=True)
    assert (row["seeds"], row["verdict"], row["attacked_p"]) == (6, SWEET, 1 / 32)
    dense = np.array([member[3]["mad"] for member in members[::2]])
    pruned = np.array([member[3]["mad"] for member in members[1::2]])
    expected = adjusted_p(np.stack([pruned - dense, np.full(12, 5.0)], axis=1))
    assert spots.select("attacked_p", "clean_p").row(0) == tuple(expected)


@pytest.mark.parametrize(("seeds", "experiments"), [(2, 10), (5, 10), (6, 60), (10, 60)])
def test_without_an_effect_verdicts_are_rare(results, seeds, experiments):
    """The whole rule on tables: nine sparsities, clean and attacked returns that share the dense twin."""
    sparsities, wrong = 9, 0
    table = [(seed, 0.1 * k, 0, {"mad": 0}) for seed in range(seeds) for k in range(sparsities + 1)]
    regret = decompose(results(table)).filter(attack="strongest").sort("seed", "sparsity_asked")
    rng = np.random.default_rng(seeds)
    for _ in range(experiments):
        clean, attacked = rng.lognormal(7, 0.5, (2, seeds, sparsities + 1))
        spread = np.ones(sparsities + 1)
        drawn = regret.with_columns(
            clean_return=clean.ravel(),
            attacked_return=attacked.ravel(),
            dense_clean_return=np.outer(clean[:, 0], spread).ravel(),
            dense_attacked_return=np.outer(attacked[:, 0], spread).ravel(),
        )
        spots = sweet_spots(drawn, flips=512).filter(~pl.col("placebo"))
        wrong += spots["verdict"].is_in([SWEET, WORSE]).any()
    assert wrong / experiments <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / experiments)
    assert seeds >= 6 or not wrong


def test_the_papers_choice_is_the_highest_average_score(results):
    members = [(0, 0.0, 100, {"mad": 20}), (0, 0.5, 90, {"mad": 60}), (0, 0.9, 50, {"mad": 50})]
    choice = best_average_score(decompose(results(members))).row(0, named=True)
    assert choice["sparsity_asked"] == 0.5
    assert choice["average_score"] == pytest.approx(0.75)
    assert choice["dense_average_score"] == pytest.approx(0.6)
    assert (choice["seeds"], choice["chosen_again"]) == (1, None)


def test_the_papers_choice_is_repeated_without_each_seed(results):
    # Mean attacked return of 0.5: 60, of 0.9: 56. Without the seed 0 it is 40 against 56.
    attacked = {0.5: (100, 40, 40), 0.9: (56, 56, 56)}
    members = [(seed, s, 100, {"mad": values[seed]}) for s, values in attacked.items() for seed in range(3)]
    choice = best_average_score(decompose(results(members))).row(0, named=True)
    assert (choice["sparsity_asked"], choice["seeds"]) == (0.5, 3)
    assert choice["chosen_again"] == pytest.approx(2 / 3)
    without = best_average_score(decompose(results(members, diverged={0}))).row(0, named=True)
    assert (without["sparsity_asked"], without["chosen_again"]) == (0.9, 1)


def test_the_paper_chooses_nothing_where_returns_cannot_be_normalised(results):
    assert best_average_score(decompose(results([(0, 0.0, -1, {"mad": -2})]))).is_empty()
