import numpy as np
import polars as pl
import pytest
from scipy.stats import wilcoxon

from jaxprune.analysis import SHIFT_SUMMARY, SHIFTS, shift_verdicts, summarise_shifts, validate


def shifts(returns):
    """The table of one member per entry: {parameter: {factor: return}}, nominal first."""
    rows = []
    for member, (seed, sparsity, points) in enumerate(returns):
        for point, (parameter, factor, value) in enumerate(points):
            factors = dict.fromkeys(("mass", "friction", "gravity", "damping", "gear"), 1.0)
            if parameter in factors:
                factors[parameter] = factor
            rows.append(
                {
                    "member": member,
                    "task": "hopper",
                    "physics": "native",
                    "arm": "ppo",
                    "seed": seed,
                    "sparsity_asked": sparsity,
                    "sparsity": sparsity,
                    "parameter": parameter,
                    "factor": factor,
                    "point": 0 if factor == 1.0 else point,
                    **factors,
                    "episodes": 2,
                    "return_mean": value,
                    "return_std": 1.0,
                    "return_min": value,
                    "return_median": value,
                    "length_mean": 10.0,
                    "failed": 0,
                    "policy": "mode",
                    "charge": "clipped",
                    "diverged": False,
                }
            )
    return pl.DataFrame(rows, schema=SHIFTS)


def summary(members):
    """(seed, sparsity, mean, worst, diverged) each."""
    rows = [
        (place, "ppo", seed, sparsity, sparsity, 10, mean, mean, worst, worst, 1, diverged)
        for place, (seed, sparsity, mean, worst, diverged) in enumerate(members)
    ]
    return pl.DataFrame(rows, schema=SHIFT_SUMMARY, orient="row")


POINTS = [("nominal", 1.0, 100.0), ("mass", 0.5, 40.0), ("mass", 1.0, 100.0), ("joint", None, 10.0)]


def test_a_summary_by_hand():
    found = summarise_shifts(shifts([(0, 0.0, POINTS)])).row(0, named=True)
    # the points are 100, 40 and 10: the row of the factor 1 repeats the nominal one
    assert (found["points"], found["nominal"], found["mean"]) == (3, 100.0, 50.0)
    assert (found["worst"], found["worst_point"]) == (10.0, 3)
    assert found["quantile_10"] == pytest.approx(10 + 0.2 * 30)


def test_without_a_nominal_row_there_is_no_summary():
    with pytest.raises(ValueError, match=r"members \[1\] have no row with parameter 'nominal'"):
        table = shifts([(0, 0.0, POINTS), (1, 0.0, POINTS)])
        summarise_shifts(table.filter((pl.col("member") == 0) | (pl.col("point") > 0)))


def test_a_malformed_table_is_refused():
    good = shifts([(0, 0.0, POINTS)])
    assert validate(good, "shifts") is good
    with pytest.raises(ValueError, match="8 rows share a key"):
        validate(pl.concat([good, good]), "shifts")
    with pytest.raises(ValueError, match=r"shifts\.mass: 4 values are null or NaN"):
        validate(good.with_columns(mass=pl.lit(float("nan"))), "shifts")
    with pytest.raises(ValueError, match=r"schema=jaxprune\.analysis\.SHIFTS"):
        validate(good.cast({"point": pl.Int32}), "shifts")


def population(differences, diverged=()):
    """A dense member of every seed with return 100 and a pruned one that differs by (mean, worst)."""
    members = []
    for seed, (mean, worst) in enumerate(differences):
        members += [
            (seed, 0.0, 100.0, 50.0, (seed, 0.0) in diverged),
            (seed, 0.5, 100.0 + mean, 50.0 + worst, (seed, 0.5) in diverged),
        ]
    return summary(members)


def test_six_seeds_that_agree_are_just_enough():
    found = shift_verdicts(population([(5.0 + seed, -3.0 - seed) for seed in range(6)]))
    mean, worst = found.iter_rows(named=True)
    # all pairs of one sign: of the 2^5 flips, only the identity reaches either difference
    assert mean["p"] == worst["p"] == 1 / 32
    assert (mean["about"], mean["verdict"], mean["seeds"]) == ("mean", "better", 6)
    assert (worst["about"], worst["verdict"]) == ("worst", "worse")
    assert mean["difference"] == pytest.approx(7.5) and worst["difference"] == pytest.approx(-5.5)
    assert mean["low"] < 7.5 < mean["high"]


def test_five_seeds_decide_nothing():
    found = shift_verdicts(population([(5.0, -3.0)] * 5))
    assert found["verdict"].to_list() == ["undecided (5 seeds, 6 needed)"] * 2
    assert found["p"].null_count() == 2 and found["difference"].to_list() == [5.0, -3.0]


def test_arms_share_the_error():
    of_one = population([(5.0 + seed, -3.0 - seed) for seed in range(7)])
    other = of_one.with_columns(member=pl.col("member") + of_one.height, arm=pl.lit("atla"))
    found = shift_verdicts(pl.concat([of_one, other]))
    assert found["arm"].to_list() == ["ppo"] * 2 + ["atla"] * 2
    # 2^6 flips leave 1 / 64 to each arm, and there are two of them
    assert found["p"].to_list() == [2 / 64] * 4
    assert found["verdict"].to_list() == ["better", "worse"] * 2
    six = shift_verdicts(pl.concat([of_one, other]).filter(pl.col("seed") < 6))
    assert set(six["verdict"]) == {"undecided (6 seeds, 7 needed)"}


def test_diverged_members_and_twins_are_left_out():
    found = shift_verdicts(population([(5.0, -3.0)] * 7, diverged={(0, 0.0), (3, 0.5)}))
    assert found["seeds"].to_list() == [5, 5]


def test_without_dense_members_nothing_is_decided():
    found = shift_verdicts(population([(5.0, -3.0)] * 7).filter(pl.col("sparsity_asked") > 0))
    assert found["verdict"].unique().to_list() == ["undecided (no dense twin)"]
    assert shift_verdicts(population([(1.0, 1.0)]).filter(sparsity_asked=0.0)).is_empty()


def test_noise_is_not_called_an_effect():
    """One hypothesis twice: its adjusted p is the sign-flip test's own, near Wilcoxon's."""
    noise = np.random.default_rng(0).normal(size=12)
    found = shift_verdicts(population([(value, value) for value in noise]))
    assert found["verdict"].unique().to_list() == ["not shown"]
    assert found["p"][0] == found["p"][1] == pytest.approx(wilcoxon(noise).pvalue, abs=0.2)


def test_of_all_hypotheses_together_the_error_is_kept():
    """With no effect at all, 8 hypotheses of 7 seeds: some verdict in at most 5 % of experiments."""
    rng, wrong, experiments = np.random.default_rng(1), 0, 200
    for _ in range(experiments):
        members = []
        for seed in range(7):
            for sparsity in (0.0, 0.2, 0.4, 0.6, 0.8):
                mean, worst = rng.normal(size=2)
                members.append((seed, sparsity, mean, worst, False))
        verdicts = shift_verdicts(summary(members))["verdict"]
        wrong += bool(verdicts.is_in(["better", "worse"]).any())
    assert wrong <= 0.05 * experiments + 3 * np.sqrt(0.05 * 0.95 * experiments)
