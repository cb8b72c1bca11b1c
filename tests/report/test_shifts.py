import polars as pl
import pytest

from jaxprune.analysis import SHIFTS, shift_verdicts, summarise_shifts
from jaxprune.report import shift_screen_words, shift_words, shifts_figure
from jaxprune.report.numbers import number
from tests.report.texts import whole

FACTORS = (0.5, 1.0, 2.0)


def table(seeds=2, diverged=(), failed=0):
    """Members at sparsity 0 and 0.5 whose return is 100 - 10 * sparsity, less 20 per shifted mass."""
    rows = []
    for member, (seed, sparsity) in enumerate((s, p) for s in range(seeds) for p in (0.0, 0.5)):
        axes = [("nominal", 1.0, 0), *(("mass", f, {0.5: 1, 1.0: 0, 2.0: 2}[f]) for f in FACTORS)]
        for parameter, factor, point in [*axes, ("gear", 0.5, 3), ("joint", None, 4)]:
            value = 100.0 - 10 * sparsity - 20 * point + seed
            mass = factor if parameter == "mass" else 1.0
            place = (member, "hopper", "native", "ppo", seed, sparsity, sparsity, parameter, factor, point)
            numbers = (mass, 1.0, 1.0, 1.0, 1.0, 2, value, 1.0, value, value, 9.0, failed * (point == 4))
            rows.append((*place, *numbers, "mode", "clipped", member in diverged))
    return pl.DataFrame(rows, schema=SHIFTS, orient="row")


def printed(shifts):
    summary = summarise_shifts(shifts)
    return " ".join(whole(shift_words(shifts, summary, shift_verdicts(summary))).split())


def test_a_panel_per_parameter_and_a_line_per_sparsity():
    figure = shifts_figure(table(), "hopper on native")
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert list(panels) == ["mass", "gear"]
    lines = {line.get_label(): line for line in panels["mass"].get_lines()}
    assert list(lines) == ["0.00", "0.50"]
    # means over the seeds 0 and 1
    assert lines["0.50"].get_xydata().tolist() == [[0.5, 75.5], [1.0, 95.5], [2.0, 55.5]]
    assert panels["mass"].get_xscale() == "log"
    assert "hopper on native" in figure.get_suptitle()
    assert "mean over 2 seeds" in figure.get_supxlabel()


def test_the_summary_by_sparsity():
    said = printed(table(seeds=1))
    # points 100, 80, 60, 40, 20: mean 60, 10 % quantile 20 + 0.4 * 20, worst 20; less 5 at a half
    assert "0.00 100 60.0 28.0 20.0" in said and "0.50 95.0 55.0 23.0 15.0" in said
    assert "mean return over 5 shifts" in said
    assert "undecided (1 seed, 6 needed)" in said
    assert "0.50 mean 1 -5.00" in said and "0.50 worst 1 -5.00" in said
    assert "DIVERGED" not in said and "non-finite" not in said


def test_what_went_wrong_is_said():
    said = printed(table(diverged={1}, failed=1))
    assert "DIVERGED: member 1" in said
    assert "4 of 40 episodes ended on non-finite physics" in said


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no rows to draw"):
        shifts_figure(table(seeds=1, diverged={0, 1}), "")


def test_all_arms_are_in_one_table_on_one_screen():
    both = pl.concat([table(seeds=6), table(seeds=6).with_columns(pl.col("member") + 12, arm=pl.lit("kl"))])
    summary = summarise_shifts(both)
    words = shift_screen_words(both, summary, shift_verdicts(summary), alpha=0.05)
    said = " ".join(whole(words).split())
    # 5 less in the mean and at worst for each of the seeds, of which there are too few for two arms
    assert "kl 0.00 102 62.5 30.5 22.5 kl 0.50 97.5 57.5 25.5 17.5 -5.00 - -5.00 -" in said
    undecided = "mean return undecided (6 seeds, 7 needed) at 0.50 (most at 0.50: -5.00); worst return"
    assert f"ppo, shifted dynamics, pruned against dense: {undecided}" in said
    (one,) = words.tables
    assert one.row_count == 4


def test_the_share_of_an_error_that_a_planned_look_has_is_told_as_it_is():
    shifts = table(seeds=6)
    summary = summarise_shifts(shifts)
    verdicts = shift_verdicts(summary)
    on_the_page = whole(shift_words(shifts, summary, verdicts, alpha=0.025))
    on_the_screen = whole(shift_screen_words(shifts, summary, verdicts, alpha=0.025))
    for text in (on_the_page, on_the_screen):
        assert "family-wise error 2.5% over" in " ".join(text.split())


def test_each_number_has_its_own_difference_and_the_largest_is_named():
    shifts = table(seeds=6)
    summary = summarise_shifts(shifts)
    verdicts = shift_verdicts(summary)
    worst = pl.when(about="worst").then(-7.0).otherwise("difference")
    further = verdicts.with_columns(
        sparsity=pl.lit(0.9), sparsity_asked=pl.lit(0.9), difference=pl.lit(-50.0)
    )
    told = pl.concat([verdicts.with_columns(difference=worst), further])
    said = " ".join(whole(shift_screen_words(shifts, summary, told, alpha=0.05)).split())
    p = number(verdicts["p"][0])
    assert f"0.50 97.5 57.5 25.5 17.5 -5.00 {p} -7.00 {p}" in said
    assert said.count("(most at 0.90: -50.0") == 2
