import numpy as np
import polars as pl
import pytest

from jaxprune.analysis import CERTIFICATES, Student, best_average_score, decompose, sweet_spots
from jaxprune.report import alarms, findings, screen_words, sweep_words
from jaxprune.report.numbers import low_to_high, number, signed
from jaxprune.report.summary import budget_tables
from jaxprune.report.verdict import attack_lines, tight_line
from tests.report.texts import whole


def printed(results, certificates, words=sweep_words):
    regret = decompose(results)
    return whole(words(results, regret, certificates, sweet_spots(regret)))


def row_of(text, title, sparsity):
    """The words of the row of a sparsity in the table with that title, and of the line below it."""
    lines = text[text.index(title) :].splitlines()
    (place, *_) = [index for index, line in enumerate(lines) if line.split()[:1] == [sparsity]]
    return lines[place].split(), lines[place + 1].split()


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("words", [sweep_words, screen_words])
def test_it_fits_in_100_columns_of_plain_text(synthetic, seeds, words):
    text = printed(synthetic.results(seeds), synthetic.certificates(seeds), words)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text.replace("\n", "").isprintable()
    assert "..." not in text
    assert "…" not in text


def test_the_numbers_of_one_seed_are_those_of_the_tables(synthetic):
    results, certificates = synthetic.results(1), synthetic.certificates(1)
    row = decompose(results).filter(attack="strongest", eps=0.075, sparsity_asked=0.5).row(0, named=True)
    bounds = certificates.filter(eps=0.075, sparsity_asked=0.5, quantity="delta", kind="bound")
    text = printed(results, certificates)
    first, second = row_of(text, "strongest attack, eps = 0.075", "0.50")
    assert first == [
        "0.50",
        number(row["clean_return"]),
        number(row["attacked_return"]),
        row["found_by"],
        number(row["robustness_gap"]),
        number(row["robustness_gain"]),
        number(bounds["value"].min()),
        number(bounds.filter("monotone")["value"].min()),
        "2.3e+06",
    ]
    # What all rows have in common stands in the heading.
    heading, _ = row_of(text, "strongest attack, eps = 0.075", "sparsity")
    assert heading[-2:] == ["path", "vacuous"]
    assert "sampled" in text
    assert second == ["interval"]


def test_what_differs_between_rows_stays_below_the_numbers(synthetic):
    renamed = (pl.col("bound") == "interval") & (pl.col("sparsity_asked") == 0.5)
    certificates = synthetic.certificates(1)
    other = certificates.with_columns(bound=pl.when(renamed).then(pl.lit("crown")).otherwise("bound"))
    text = printed(synthetic.results(1), other)
    assert row_of(text, "strongest attack, eps = 0.075", "0.50")[1] == ["crown"]
    assert row_of(text, "strongest attack, eps = 0.075", "0.70")[1] == ["interval"]


def test_several_seeds_show_means_and_intervals(synthetic):
    results = synthetic.results(3)
    clean = results.filter(attack="none", sparsity_asked=0.5)["return_mean"]
    first, second = row_of(printed(results, synthetic.certificates(3)), "eps = 0.025", "0.50")
    assert first[1] == number(clean.mean())
    _, low, high = Student().mean(clean)
    assert second[0] == low_to_high(low, high)


def test_every_attack_has_its_return_at_every_eps(synthetic):
    results = synthetic.results(3)
    text = printed(results, CERTIFICATES.to_frame())
    for attack in ("critic", "mad", "pa-ad", "random"):
        for eps in ("0.025", "0.075"):
            rows = results.filter(attack=attack, eps=float(eps))
            means = rows.group_by("sparsity").agg(pl.mean("return_mean")).sort("sparsity")["return_mean"]
            assert [attack, eps, "linf", "normalised", *map(number, means)] in map(
                str.split, text.splitlines()
            )


def test_it_does_without_attacks_and_certificates(synthetic):
    text = printed(synthetic.results(1).filter(attack="none"), CERTIFICATES.to_frame())
    assert "none" in text
    assert "strongest" not in text


def test_one_screen_holds_the_verdicts_beside_returns_and_bounds(synthetic):
    results, certificates = synthetic.results(12), synthetic.certificates(12)
    regret = decompose(results).filter(attack="strongest", eps=0.075, sparsity_asked=0.5)
    spots = sweet_spots(decompose(results)).filter(~pl.col("placebo"), eps=0.075, sparsity_asked=0.5)
    bounds = certificates.filter(eps=0.075, sparsity_asked=0.5, quantity="delta", kind="bound")
    smallest = bounds.group_by("seed").agg(pl.min("value"))["value"].mean()
    path = bounds.filter(bound="path")["value"].mean()
    text = printed(results, certificates, screen_words)
    row, _ = row_of(text, "strongest attack, eps = 0.075", "0.50")
    assert row == [
        "0.50",
        number(regret["clean_return"].mean()),
        number(regret["attacked_return"].mean()),
        "pa-ad",
        signed(spots["attacked_difference"][0]),
        number(spots["attacked_p"][0]),
        number(smallest),
        number(path),
        "sweet",
    ]
    assert "family-wise error 5% over 7 sparsities x 2 budgets" in " ".join(text.split())
    assert len(text.splitlines()) <= 28


def test_one_screen_has_a_row_for_every_arm_and_what_diverged(synthetic):
    one = synthetic.results(6, budgets=(0.075,)).with_columns(diverged=pl.col("member") == 3)
    both = pl.concat([one, one.with_columns(arm=pl.lit("noise"), member=pl.col("member") + 1000)])
    regret = decompose(both)
    words = screen_words(both, regret, CERTIFICATES.to_frame(), sweet_spots(regret))
    (table,) = words.tables
    assert list(table.columns[0].cells) == ["noise"] * 8 + ["ppo"] * 8
    assert [line.partition(":")[0] for line in words.lines] == ["ppo", "noise"]
    assert [line[:20] for line in words.alarms] == ["DIVERGED: member 3 (", "DIVERGED: member 100"]


def test_differences_to_the_twin_have_a_table_with_the_placebo_last(synthetic):
    results = synthetic.results(6)
    spots = sweet_spots(decompose(results)).filter(eps=0.075)
    text = printed(results, CERTIFICATES.to_frame())
    row = spots.row(by_predicate=pl.col("sparsity_asked") == 0.5, named=True)
    first, second = row_of(text, "member minus dense twin, eps = 0.075", "0.50")
    words = [signed(row["attacked_difference"]), "0.031", signed(row["clean_difference"])]
    assert first[:5] == ["0.50", "6", *words]
    assert first[5:] == [number(row["clean_p"]), *row["verdict"].split()]
    assert second == [
        low_to_high(row[f"{about}_low"], row[f"{about}_high"]) for about in ("attacked", "clean")
    ]
    first, _ = row_of(text, "member minus dense twin, eps = 0.075", "placebo")
    assert " ".join(first).endswith("undecided (3 pairs, 6 needed)")


def sentences(results, regret, certificates, spots, **arms):
    return [*alarms(results, certificates), *findings(results, regret, certificates, spots, **arms)]


def said(results, certificates=None):
    certificates = CERTIFICATES.to_frame() if certificates is None else certificates
    regret = decompose(results)
    return "\n".join(sentences(results, regret, certificates, sweet_spots(regret)))


def test_sweet_spots_are_named_with_their_evidence(synthetic):
    lines = said(synthetic.results(12)).splitlines()
    spot = next(line for line in lines if line.startswith("eps = 0.075"))
    assert "sweet at sparsity 0.20, 0.40, 0.50; largest difference at 0.50: attacked +" in spot
    assert "adjusted p 4.9e-04, clean" in spot  # 1 of 2048 flips
    (margin,) = sweet_spots(decompose(synthetic.results(12))).filter(eps=0.075, sparsity_asked=0.5)[
        "clean_margin"
    ]
    assert f"(clean may lose {number(abs(margin))})" in spot
    assert spot.endswith("(12 seeds, family-wise error 5% over 7 sparsities x 2 budgets)")
    placebo = lines[lines.index(spot) + 1]
    assert "placebo, dense against dense in 6 pairs of seeds: attacked" in placebo and "adjusted p" in placebo


def test_what_is_printed_of_an_arm_is_what_the_table_of_all_arms_says(synthetic):
    one = synthetic.results(12, budgets=(0.075,))
    both = pl.concat([one, one.with_columns(arm=pl.lit("noise"), member=pl.col("member") + 1000)])
    spots = sweet_spots(decompose(both)).filter(arm="noise")
    of_arm = both.filter(arm="noise")
    lines = sentences(of_arm, decompose(of_arm), CERTIFICATES.to_frame(), spots, arms=2)
    line = next(line for line in lines if "largest difference at 0.50" in line)
    (p,) = spots.filter(sparsity_asked=0.5)["attacked_p"]
    assert p == 2 * 2 / 2**12  # 2 of 4096 flips of the signs, in either of two arms
    assert f"adjusted p {number(p)}, clean" in line
    assert line.endswith("(12 seeds, family-wise error 5% over 7 sparsities x 2 arms)")


def test_the_largest_difference_is_the_largest_loss_where_pruning_only_loses(synthetic):
    """1 less at 0.5 and 300 less at 0.9, with a noise in which neither is shown."""
    results = synthetic.results(7, budgets=(0.075,)).filter(pl.col("sparsity_asked").is_in([0.0, 0.5, 0.9]))
    dense = results.filter(sparsity_asked=0.0).select("seed", "attack", same="return_mean")
    noise = 900 * pl.col("seed").replace_strict(dict(enumerate((-1, 1, -1, 1, -1, 1, 0))))
    less = pl.when(sparsity_asked=0.9).then(300 + noise).when(sparsity_asked=0.5).then(1 + noise).otherwise(0)
    worse = results.join(dense, on=["seed", "attack"]).with_columns(return_mean=pl.col("same") - less)
    text = said(worse.drop("same"))
    assert "no effect of pruning shown; largest difference at 0.90: attacked -300 [" in text


def test_the_best_policy_is_the_one_that_the_regret_is_about_whatever_its_arm(synthetic):
    one = synthetic.results(2, budgets=(0.075,))
    less = pl.col("return_mean") / 3, pl.col("selection_mean") / 3
    both = pl.concat([one, one.with_columns(*less, arm=pl.lit("sa"), member=pl.col("member") + 1000)])
    regret, spots = decompose(both), sweet_spots(decompose(both))
    of_arm = pl.col("arm") == "sa"
    lines = findings(
        both.filter(of_arm),
        regret.filter(of_arm),
        CERTIFICATES.to_frame(),
        spots.filter(of_arm),
        arms=2,
        everyone=both,
    )
    (best,) = regret["best_return"].unique()
    (line,) = (line for line in lines if line.startswith("J(pi*)"))
    assert line.startswith(f"J(pi*) is an estimate, {number(best)}: the clean return of member")
    assert "(ppo, sparsity" in line and line.endswith("the best of 32 on other episodes")


def test_a_gain_at_the_price_of_the_clean_return_is_no_sweet_spot(synthetic):
    text = said(synthetic.results(10, budgets=(0.075,)).filter(pl.col("sparsity_asked").is_in([0.0, 0.7])))
    assert (
        "better than dense under attack, but the clean return is not shown to be kept, at sparsity 0.70"
        in text
    )
    assert "no effect" not in text and "sweet" not in text


def test_where_all_pairs_are_lost_nothing_is_decided(synthetic):
    results = synthetic.results(1, budgets=(0.075,)).with_columns(diverged=pl.col("member") == 0)
    text = said(results)
    assert "normalised observations): undecided (0 seeds, 6 needed)\n" in text
    assert "train a dense policy" not in text


def test_what_the_strongest_attack_leaves_is_said(synthetic):
    regret = decompose(synthetic.results(3))
    ends = [
        regret.filter(attack="strongest", eps=0.075, sparsity_asked=asked).select(
            pl.mean("attacked_return", "clean_return")
        )
        for asked in (0.0, 0.9)
    ]
    left = [" of ".join(map(number, means.row(0))) for means in ends]
    assert attack_lines(regret)[1] == (
        "eps = 0.075 (linf norm, normalised observations): the strongest attack "
        f"(pa-ad for 24 of 24 members) leaves {left[0]} at sparsity 0.00, {left[1]} at sparsity 0.90"
    )


def test_the_smallest_bound_is_compared_with_that_of_the_dense_policy(synthetic):
    certificates = synthetic.certificates(2, budgets=(0.075,)).filter(
        pl.col("bound").is_in(["frobenius", "path"]), pl.col("sparsity_asked").is_in([0.0, 0.5, 0.9])
    )
    value = pl.when(sparsity_asked=0.5).then(2.0).when(sparsity_asked=0.9).then(0.5).otherwise(1.0)
    # The Frobenius bound is ten times as large, and does not count.
    value = pl.when(bound="frobenius").then(10 * value).otherwise(value)
    assert tight_line(certificates.with_columns(value=value)) == (
        "tight bounds: the smallest sound bound on delta (path) is above the dense policy's in 2 of 4 cases; "
        "at sparsity 0.90 it is 0.500 in the mean, dense 1.00"
    )
    alone = certificates.filter(pl.col("sparsity_asked") > 0)
    assert tight_line(alone) == "tight bounds: no pruned member has a dense twin to be compared with"


def test_nothing_shown_is_said(synthetic):
    results = synthetic.results(7)
    dense = results.filter(sparsity_asked=0.0).select("seed", "attack", "eps", same="return_mean")
    noise = np.random.default_rng(0).normal(0, 50, results.height)
    same = results.join(dense, on=["seed", "attack", "eps"]).with_columns(return_mean=pl.col("same") + noise)
    text = said(same.drop("same"))
    assert "no effect of pruning shown; largest difference at" in text
    assert "(7 seeds, family-wise error 5% over 7 sparsities x 2 budgets)" in text


def test_one_seed_is_undecided(synthetic):
    text = said(synthetic.results(1))
    assert "undecided (1 seed, 6 needed); largest difference at" in text
    assert "sweet" not in text
    assert "placebo" not in text  # which takes two seeds


def test_pruning_that_harms_is_said_plainly(synthetic):
    harmed = pl.when(pl.col("sparsity_asked") > 0).then(pl.col("return_mean") - 2000).otherwise("return_mean")
    text = said(synthetic.results(10).with_columns(return_mean=harmed))
    assert "worse than dense under attack at sparsity 0." in text
    assert "reliably" not in text


def test_a_sparsity_that_lost_its_pairs_is_counted(synthetic):
    results = synthetic.results(6)
    results = results.with_columns(diverged=pl.col("member") == 1)  # sparsity 0.2 of the seed 0
    assert (
        "(5 to 6 seeds, family-wise error 5% over 6 sparsities x 2 budgets; 1 of 7 sparsities undecided)"
        in (said(results))
    )


def test_what_diverged_and_what_is_wrong_comes_first(synthetic):
    results = synthetic.results(3).with_columns(
        diverged=pl.col("member").is_in([0, 9]), outside_ball=pl.lit(1, pl.Int64)
    )
    certificates = synthetic.certificates(3).with_columns(
        violated=pl.when(bound="path", member=4, eps=0.075).then(7).otherwise("violated")
    )
    regret = decompose(results)
    lines = sentences(results, regret, certificates, sweet_spots(regret))
    assert lines[0].startswith("DIVERGED: member 0 (seed 0, sparsity 0.00)") and "its seed" in lines[0]
    assert lines[1].startswith("DIVERGED: member 9 (seed 1, sparsity 0.20)") and "its seed" not in lines[1]
    assert lines[2].startswith(
        "WRONG: at 7 states an attack found more than a bound allows (path; members 4)"
    )
    assert lines[3].startswith("WRONG: 216 perturbations")
    text = printed(results, certificates)
    assert text.index("DIVERGED: member 0") < text.index("mean return by attack")
    assert max(len(line) for line in text.splitlines()) <= 100
    # One dense member of three is left, and no mean holds what was left out.
    kept = results.filter(pl.col("seed").is_in([1, 2]), attack="none", sparsity_asked=0.0)["return_mean"]
    assert row_of(text, "strongest attack, eps = 0.075", "0.00")[0][1] == number(kept.mean())


def test_the_papers_choice_is_an_estimate(synthetic):
    text = said(synthetic.results(3))
    assert "estimate, the highest mean of normalised clean and attacked return is at sparsity" in text
    assert "3 seeds, the same with one of them left out in" in text
    for row in best_average_score(decompose(synthetic.results(3))).iter_rows(named=True):
        score, dense = number(row["average_score"]), number(row["dense_average_score"])
        assert score != dense and f"(score {score}, dense {dense}; 3 seeds" in text


def test_no_dense_policy_is_asked_for(synthetic):
    text = said(synthetic.results(3).filter(pl.col("sparsity_asked") > 0))
    assert "undecided (no dense twin): train a dense policy" in text


def test_a_monotone_bound_that_a_mask_raised_is_a_defect(synthetic):
    certificates = synthetic.certificates(3)
    assert "path bound: monotone, 0 of 42 masks raised it, as the theorem demands" in said(
        synthetic.results(3), certificates
    )
    broken = certificates.with_columns(unmasked=pl.when(bound="path").then(0.0).otherwise("unmasked"))
    assert "path bound: MONOTONE BUT 42 of 42 masks raised it, which is a defect" in said(
        synthetic.results(3), broken
    )


def test_what_spoils_the_numbers_is_said(synthetic):
    text = said(
        synthetic.results(1).with_columns(failed=pl.lit(1, pl.Int64), outside_ball=pl.lit(2, pl.Int64))
    )
    assert "72 of 7200 evaluation episodes ended on non-finite physics" in text
    assert "WRONG: 144 perturbations outside the ball" in text


def test_one_pair_of_seeds_is_no_plural(synthetic):
    assert "placebo, dense against dense in 1 pair of seeds: attacked" in said(synthetic.results(2))
    assert "placebo, dense against dense in 2 pairs of seeds: attacked" in said(synthetic.results(4))


def test_the_attack_of_most_members_is_named_and_how_many_others_there_are(synthetic):
    results = synthetic.results(3, budgets=(0.075,))
    # Of the three seeds at 0.5 one has the first name of the alphabet, and two have the last.
    names = pl.col("seed").replace_strict({0: "critic", 1: "random", 2: "random"})
    regret = decompose(results)
    mixed = regret.with_columns(found_by=pl.when(sparsity_asked=0.5).then(names).otherwise("found_by"))
    text = whole(screen_words(results, mixed, CERTIFICATES.to_frame(), sweet_spots(regret)))
    assert row_of(text, "strongest attack", "0.50")[0][3:5] == ["random", "+1"]
    assert row_of(text, "strongest attack", "0.70")[0][3] == "pa-ad"
    (line,) = attack_lines(mixed)
    assert "the strongest attack (pa-ad for 21 of 24 members)" in line


def test_how_many_value_gaps_are_vacuous_and_whether_one_is_an_estimate_stands_below_them(synthetic):
    certificates = synthetic.certificates(3, budgets=(0.075,))
    one = (pl.col("bound") == "horizon_gap") & (pl.col("seed") == 1)
    told = certificates.with_columns(
        vacuous=pl.when(pl.col("bound") == "horizon_gap").then(one & (pl.col("sparsity_asked") == 0.5)),
        kind=pl.when(one & (pl.col("sparsity_asked") == 0.7)).then(pl.lit("estimate")).otherwise("kind"),
    )
    (table,) = budget_tables(decompose(synthetic.results(3, budgets=(0.075,))), told)
    (cells,) = ([*column.cells] for column in table.columns if str(column.header) == "value\ngap")
    noted = [str(cell).split("\n")[2:] for cell in cells]
    assert noted == [[]] * 3 + [["vacuous 1/3"], [], ["estimate"], [], []]
