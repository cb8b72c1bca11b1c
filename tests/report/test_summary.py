import io

import polars as pl
import pytest

from jaxprune.analysis import CERTIFICATES, decompose
from jaxprune.report import open_console, print_summary, verdicts
from jaxprune.report.numbers import number


def printed(results, certificates):
    console = open_console(io.StringIO())
    print_summary(console, results, decompose(results), certificates)
    return console.file.getvalue()


def row_of(text, title, sparsity):
    """The words of the row of a sparsity in the table with that title, and of the line below it."""
    lines = text[text.index(title) :].splitlines()
    (place, *_) = [index for index, line in enumerate(lines) if line.split()[:1] == [sparsity]]
    return lines[place].split(), lines[place + 1].split()


@pytest.mark.parametrize("seeds", [1, 3])
def test_it_fits_in_100_columns_of_plain_text(synthetic, seeds):
    text = printed(synthetic.results(seeds), synthetic.certificates(seeds))
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
    assert second[0] == interval(clean.min(), clean.max())


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


def said(results, certificates=None):
    certificates = CERTIFICATES.to_frame() if certificates is None else certificates
    return "\n".join(verdicts(results, decompose(results), certificates))


def test_sweet_spots_are_named(synthetic):
    assert "sweet spots (3 seeds) at sparsity 0.20, 0.40, 0.50; best at sparsity 0.50" in said(
        synthetic.results(3)
    )


def test_one_seed_is_undecided(synthetic):
    text = said(synthetic.results(1))
    assert "undecided (1 seed), so no interval; best at sparsity" in text
    assert "sweet" not in text


def test_pruning_that_does_not_help_is_said_plainly(synthetic):
    harmed = pl.when(pl.col("sparsity_asked") > 0).then(pl.col("return_mean") - 2000).otherwise("return_mean")
    assert "pruning did not help here: " in said(synthetic.results(3).with_columns(return_mean=harmed))


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
    assert "WRONG: 144 perturbations lie outside their ball" in text
