from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jaxprune.analysis import adjusted_p, needed_pairs, sign_flips

NULLS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails": lambda rng, shape: rng.standard_t(1.5, size=shape),
    "skewed": lambda rng, shape: rng.lognormal(0, 1.5, size=shape),
    "coarse": lambda rng, shape: rng.integers(0, 3, size=shape).astype(float),
}


def differences(rng, draw, experiments, seeds, sparsities=9):
    """Pruned minus dense of each seed, where both are drawn alike: `[experiment, seed, sparsity]`."""
    returns = draw(rng, (experiments, seeds, sparsities + 1))
    return returns[..., 1:] - returns[..., :1]


def at_most(alpha, experiments):
    """The largest rate of errors that a test of this level may show, within three standard errors."""
    return alpha + 3 * np.sqrt(alpha * (1 - alpha) / experiments)


def by_loops(table):
    """Step-down adjusted p values with Student's t and every one of the 2^n flips, from the definition."""

    def sizes(columns):
        values = []
        for column in columns:
            sd = np.std(column, ddof=1)
            mean = abs(np.mean(column))
            values.append(np.inf if sd < 1e-12 < mean else 0.0 if sd < 1e-12 else mean / sd)
        return values

    columns = [np.array(column) for column in table.T]
    observed = sizes(columns)
    order = sorted(range(len(columns)), key=lambda index: -observed[index])
    p, largest = [0.0] * len(columns), 0.0
    for place, index in enumerate(order):
        left = [columns[other] for other in order[place:]]
        flips = [
            max(sizes([np.array(signs) * column for column in left]))
            for signs in product((1, -1), repeat=len(table))
        ]
        reached = np.mean([value >= observed[index] * (1 - 1e-9) for value in flips])
        largest = max(largest, reached)
        p[index] = largest
    return p


@pytest.mark.parametrize("seeds", [2, 3, 6, 7])
def test_agrees_with_loops_over_all_flips(seeds):
    rng = np.random.default_rng(seeds)
    table = differences(rng, NULLS["normal"], 1, seeds, 4)[0] + np.array([0, 1.5, 3, 0])
    assert adjusted_p(table) == pytest.approx(by_loops(table))
    ties = differences(rng, NULLS["coarse"], 1, seeds, 4)[0]
    assert adjusted_p(ties) == pytest.approx(by_loops(ties))


def test_one_hypothesis_agrees_with_scipy():
    sample = np.random.default_rng(4).normal(0.6, 1, 9)

    def size(values, axis):
        return np.abs(values.mean(axis=axis))  # orders flips as t does

    exact = stats.permutation_test(
        (sample,), size, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    )
    assert adjusted_p(sample[:, None])[0] == pytest.approx(exact.pvalue)


def test_computed_by_hand():
    # The sums of the flips of 1, 2, 4, 5 and 8 of a kind, up to mirror images; six pairs of one sign: 1/32.
    assert adjusted_p(np.array([1.0, 2, 4, 5, 8, 9])[:, None]).tolist() == [1 / 32]
    # 29 - 2 = 27: reached by turning nothing (29) and by turning the 1 (27).
    assert adjusted_p(np.array([-1.0, 2, 4, 5, 8, 9])[:, None]).tolist() == [2 / 32]
    # 29 - 4 = 25: by nothing, 1 (27) and 2 (25).
    assert adjusted_p(np.array([1.0, -2, 4, 5, 8, 9])[:, None]).tolist() == [3 / 32]


def test_what_does_not_differ_has_p_1_and_what_differs_equally_the_smallest():
    table = np.stack([np.zeros(6), np.full(6, 1e-150), np.full(6, -3.0), [1, -1, 1, -1, 1, -1]], axis=1)
    # The last column reaches sqrt(6) at one flip more, which therefore counts against the other two.
    assert adjusted_p(table).tolist() == [1, 2 / 32, 2 / 32, 1]
    assert adjusted_p(np.zeros((6, 2))).tolist() == [1, 1]


@given(
    scale=st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3),
    signs=st.lists(st.sampled_from([1, -1]), min_size=3, max_size=3),
    order=st.permutations(range(6)),
    columns=st.permutations(range(3)),
    seed=st.integers(0, 1000),
)
def test_units_signs_and_order_do_not_matter(scale, signs, order, columns, seed):
    table = np.random.default_rng(seed).normal(0.5, 1, (6, 3))
    changed = (table * np.array(scale) * np.array(signs))[order][:, columns]
    assert adjusted_p(changed) == pytest.approx(adjusted_p(table)[list(columns)])


def test_a_missing_pair_says_nothing_about_the_others():
    rng = np.random.default_rng(1)
    table = rng.normal(1, 1, (7, 2))
    table[3, 1] = np.nan
    alone = adjusted_p(np.delete(table[:, 1:], 3, axis=0))
    assert adjusted_p(table[:, 1:]) == pytest.approx(alone)
    assert (adjusted_p(table) >= [adjusted_p(table[:, :1])[0], alone[0]]).all()


def test_needed_pairs():
    assert [needed_pairs(alpha) for alpha in (0.05, 0.01, 0.5, 0.0625)] == [6, 8, 2, 5]
    assert [needed_pairs(0.05, families) for families in (1, 2, 3)] == [6, 7, 7]
    for families in (1, 2, 5):
        count = needed_pairs(0.05, families)
        assert families * 2 / 2**count <= 0.05 < families * 2 / 2 ** (count - 1)
        assert families * adjusted_p(np.ones((count, 1)))[0] <= 0.05


def test_flips_are_all_up_to_mirror_images_or_drawn_with_the_identity():
    flips = {tuple(row) for row in sign_flips(5)}
    assert flips == {signs for signs in product((1, -1), repeat=5) if signs[0] == 1}
    drawn = sign_flips(20, most=100, seed=3)
    assert drawn.shape == (100, 20)
    assert (drawn[0] == 1).all() and set(np.unique(drawn)) == {-1, 1}
    assert (drawn == sign_flips(20, most=100, seed=3)).all()
    assert (drawn != sign_flips(20, most=100, seed=4)).any()
    # The identity counts, so that no p value is 0.
    assert adjusted_p(np.ones((20, 1)), flips=100).tolist() == [1 / 100]


def test_many_flips_are_held_in_memory_in_parts(monkeypatch):
    table = np.random.default_rng(0).normal(0.3, 1, (12, 5))
    whole = adjusted_p(table)
    monkeypatch.setattr("jaxprune.analysis.signflip._AT_ONCE", 100)
    assert adjusted_p(table).tolist() == whole.tolist()


@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("seeds", [2, 3, 5, 6, 10, 20])
def test_without_an_effect_the_family_wise_error_is_kept(seeds, null):
    experiments = 1000
    table = differences(np.random.default_rng(seeds), NULLS[null], experiments, seeds)
    rejected = (adjusted_p(table, flips=200) <= 0.05).any(axis=1).mean()
    assert rejected <= at_most(0.05, experiments)
    assert seeds >= 6 or rejected == 0


@pytest.mark.parametrize("null", ["normal", "heavy tails", "skewed"])
def test_true_hypotheses_are_protected_whatever_the_others_are(null):
    experiments, seeds = 1000, 10
    table = differences(np.random.default_rng(0), NULLS[null], experiments, seeds)
    table[..., :3] += 20
    table[..., 3:5] += 1
    p = adjusted_p(table, flips=512)
    assert (p[..., 5:] <= 0.05).any(axis=1).mean() <= at_most(0.05, experiments)


def test_steps_down():
    """Once strong effects are rejected the others are compared among themselves, as a single step is not."""
    rng = np.random.default_rng(0)
    table = differences(rng, NULLS["normal"], 500, 8, 5)
    strong = table.copy()
    strong[..., :4] += 1000
    alone = adjusted_p(table[..., 4:])[..., 0]
    np.testing.assert_allclose(adjusted_p(strong)[..., 4], np.maximum(alone, 1 / 128))
