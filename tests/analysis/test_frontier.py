import pytest

from jaxprune.analysis import best_average_score, decompose, sweet_spots


def judged(results, members):
    return sweet_spots(decompose(results(members))).row(0, named=True)


def three_seeds(clean, attacked):
    """Dense members of return 100 and 50 under attack, and pruned ones of the returns given."""
    dense = [(seed, 0.0, 100, {"mad": 50}) for seed in range(3)]
    pruned = [(seed, 0.5, *returns) for seed, returns in enumerate(zip(clean, attacked, strict=True))]
    return dense + [(seed, sparsity, one, {"mad": other}) for seed, sparsity, one, other in pruned]


@pytest.mark.parametrize(
    ("clean", "attacked", "verdict"),
    [
        ((98, 99, 101), (60, 55, 70), "sweet"),
        ((98, 99, 101), (60, 45, 70), "not sweet"),  # one seed is worse under attack
        ((98, 94, 101), (60, 55, 70), "not sweet"),  # one seed lost 6 % of its clean return
        ((95, 95, 95), (51, 51, 51), "sweet"),  # a loss of exactly 5 % is allowed
        ((100, 100, 100), (50, 50, 50), "not sweet"),  # no better is not better
    ],
)
def test_sweet_spots_by_the_rule(results, clean, attacked, verdict):
    row = judged(results, three_seeds(clean, attacked))
    assert row["verdict"] == verdict
    assert row["seeds"] == 3
    assert row["clean_margin"] == -5
    assert row["attacked_difference"] == pytest.approx(sum(attacked) / 3 - 50)
    assert (row["attacked_low"], row["attacked_high"]) == pytest.approx(
        (min(attacked) - 50, max(attacked) - 50)
    )


def test_differences_are_paired_by_seed(results):
    members = [(0, 0.0, 100, {"mad": 10}), (1, 0.0, 1000, {"mad": 900})]
    members += [(1, 0.5, 1000, {"mad": 905}), (0, 0.5, 100, {"mad": 15})]
    row = judged(results, members)
    assert (row["attacked_low"], row["attacked_high"]) == (5, 5)


def test_one_seed_is_never_a_sweet_spot(results):
    row = judged(results, [(0, 0.0, 100, {"mad": 10}), (0, 0.5, 200, {"mad": 190})])
    assert row["verdict"] == "undecided (1 seed)"
    assert (row["attacked_difference"], row["attacked_low"], row["clean_difference"]) == (180, None, 100)


def test_without_a_dense_twin_nothing_is_decided(results):
    row = judged(results, [(0, 0.5, 200, {"mad": 190})])
    assert (row["verdict"], row["seeds"]) == ("undecided (no dense twin)", 0)


def test_the_margin_of_a_negative_return_is_still_a_loss(results):
    dense = [(seed, 0.0, -100, {"mad": -200}) for seed in range(2)]
    pruned = [(seed, 0.5, -104, {"mad": -150}) for seed in range(2)]
    row = judged(results, dense + pruned)
    assert (row["clean_margin"], row["verdict"]) == (-5, "sweet")


def test_the_papers_choice_is_the_highest_average_score(results):
    members = [(0, 0.0, 100, {"mad": 20}), (0, 0.5, 90, {"mad": 60}), (0, 0.9, 50, {"mad": 50})]
    choice = best_average_score(decompose(results(members))).row(0, named=True)
    assert choice["sparsity_asked"] == 0.5
    assert choice["average_score"] == pytest.approx(0.75)
    assert choice["dense_average_score"] == pytest.approx(0.6)


def test_the_paper_chooses_nothing_where_returns_cannot_be_normalised(results):
    assert best_average_score(decompose(results([(0, 0.0, -1, {"mad": -2})]))).is_empty()
