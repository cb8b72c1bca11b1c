import numpy as np
import pytest

from jaxprune.analysis import SPREADS, adjusted_p, detectable_difference


@pytest.mark.parametrize(
    ("seeds", "sparsities", "budgets", "alpha"),
    [(6, 1, 1, 0.05), (7, 9, 1, 0.05), (10, 4, 2, 0.05), (12, 2, 1, 0.0025)],
)
def test_a_planted_effect_is_found_as_often_as_asked(seeds, sparsities, budgets, alpha):
    experiments, power = 2000, 0.8
    effect = detectable_difference(seeds, sparsities, budgets, alpha, power)
    rng = np.random.default_rng(99)
    returns = rng.normal(0, np.sqrt(0.5), (experiments, seeds, budgets + 1, sparsities + 1))
    returns[:, :, 0, 1] += effect
    table = (returns[..., 1:] - returns[..., :1]).reshape(experiments, seeds, -1)
    found = (adjusted_p(table)[..., 0] <= alpha).mean()
    # The effect comes from 500 experiments, and is checked with 2000 others.
    error = np.sqrt(power * (1 - power) * (1 / 500 + 1 / experiments))
    assert abs(found - power) < 3 * error + 0.02  # 2 % is where the search for it stops


def test_more_seeds_show_less_and_more_questions_need_more():
    by_seeds = [detectable_difference(seeds, 4) for seeds in (6, 8, 12, 20)]
    assert by_seeds == sorted(by_seeds, reverse=True)
    assert detectable_difference(8, 1) < detectable_difference(8, 9) < detectable_difference(8, 9, budgets=3)
    assert detectable_difference(8, 4, power=0.5) < detectable_difference(8, 4, power=0.9)
    assert detectable_difference(8, 4) == detectable_difference(8, 4)


@pytest.mark.parametrize(
    ("seeds", "sparsities", "alpha"), [(5, 9, 0.05), (1, 1, 0.05), (7, 9, 0.01), (10, 0, 0.05)]
)
def test_too_few_seeds_show_nothing(seeds, sparsities, alpha):
    assert detectable_difference(seeds, sparsities, alpha=alpha) is None


def test_spreads_are_positive_and_say_where_they_are_from():
    for spread in SPREADS.values():
        assert spread.attacked > 0 and spread.seeds > 1 and spread.source
