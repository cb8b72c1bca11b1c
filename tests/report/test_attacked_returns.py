"""What is shown of certified returns."""

import polars as pl
import pytest

from jaxprune.report import attacked_returns_figure, attacked_returns_words
from jaxprune.report.page.charts import certified_chart
from tests.report.texts import whole

RADII = (0.01, 0.02)


def table(certified=lambda member, radius: 400.0 + 200 * member - 300 * radius, diverged=()):
    """Two seeds at sparsity 0 and 0.5, clean 1000; attacked 100 above what is certified, by blocks half."""
    rows = []
    for member, (seed, sparsity) in enumerate((s, p) for s in range(2) for p in (0.0, 0.5)):
        for radius, eps in enumerate(RADII):
            limit = None if member in diverged else max(0.0, certified(member, radius))
            rows.append(
                {
                    "member": member,
                    "arm": "ppo",
                    "seed": seed,
                    "sparsity_asked": sparsity,
                    "eps": eps,
                    "norm": "linf",
                    "space": "normalised",
                    "confidence": 0.95,
                    "simultaneous": 32,
                    "episodes": 50,
                    "attacked_episodes": 10,
                    "lowest": 0.0,
                    "largest_budget": 0.75,
                    "spent": 1.5 + radius,
                    "mean_max_lowest": None if limit is None else 1000.0,
                    "certified_mean": limit,
                    "mean_blocks": None if limit is None else 1000.0,
                    "certified_blocks": None if limit is None else limit / 2,
                    "attacked_mean": None if limit is None else limit - 900,
                    "attacked_max_lowest": None if limit is None else limit + 100,
                    "std": 1.0,
                    "stds_tried": 1,
                    "mean_own_std": None if limit is None else 1000.0,
                    "largest_eps_25": None if limit is None else 0.01 + 0.01 * sparsity,
                    "diverged": member in diverged,
                }
            )
    return pl.DataFrame(rows)


def printed(means):
    return " ".join(whole(attacked_returns_words(means)).split())


def test_a_panel_for_each_kind_of_return_and_a_line_per_sparsity():
    figure = attacked_returns_figure(table(), "hopper on native")
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert list(panels) == ["clean", "under MAD (estimate, from above)", "certified", "certified by blocks"]
    dense, pruned = (line.get_xydata().tolist() for line in panels["certified"].get_lines())
    # members 0 and 2: 400 and 800, then 300 less
    assert dense == [[0.01, 600.0], [0.02, 300.0]] and pruned == [[0.01, 800.0], [0.02, 500.0]]
    assert "hopper on native" in figure.get_suptitle()
    assert "confidence 0.95" in figure.get_supxlabel()


def test_the_table_says_what_and_how_sure():
    said = printed(table())
    assert "mean of max(R, 0) under attack at every step, linf normalised, sampled actions" in said
    assert "0.00 1000 certified 600 300 certified by blocks 300 150 MAD finds 700 400" in said


def test_the_largest_limits_are_named():
    lines = attacked_returns_words(table()).lines
    assert lines[0] == (
        "certified returns: all 32 limits hold together at 0.95, over 50 episodes of each member, others "
        "chose; MAD: 10 episodes"
    )
    assert lines[1] == (
        "largest certified mean at eps 0.01: pruned 1000 of 1000, 1100 under MAD (member 3, sparsity 0.5), "
        "dense 800 of 1000, 900 under MAD (member 2, sparsity 0)"
    )
    before = attacked_returns_words(table().drop("attacked_max_lowest")).lines
    assert before[1].startswith("largest certified mean at eps 0.01: pruned 1000 of 1000 (member 3")
    assert lines[-1].startswith(
        "largest eps with 25% of the clean mean certified, of those asked for: pruned 0.015 (member 3, "
        "sparsity 0.5), dense 0.01 (member 2, sparsity 0); of all members together"
    )
    # Runs of before have no such column.
    assert attacked_returns_words(table().drop("largest_eps_25")).lines == lines[:-1]


def test_another_spread_is_named_with_what_it_returns_beside_what_the_own_one_does():
    said = printed(table().with_columns(std=pl.lit(1.5), mean_own_std=pl.lit(1200.0), stds_tried=pl.lit(2)))
    assert "0.00 1200 certified 600 300" in said
    assert "times its std 1.50 1.50 clean with that 1000 1000" in said
    assert "times its std" not in printed(table())


def test_nothing_certified_is_said_with_what_episodes_spend():
    _, line = attacked_returns_words(table(lambda *_: 0.0)).lines
    assert "none is 1% of the clean mean" in line and "spend 1.50 or more at eps 0.01" in line
    # twice as much as .75 is spent at .01
    assert "little beyond 0.750" in line and "ask for about 0.005 or less" in line


def test_a_limit_far_below_one_per_cent_of_the_clean_mean_is_nothing():
    # just below a hundredth of the way from -100 to 1000, and just not
    way = 1100.0

    def at(share):
        rows = table(lambda *_: 1.0).with_columns(
            lowest=pl.lit(-100.0), certified_mean=pl.lit(-100 + share * way), certified_blocks=pl.lit(-100.0)
        )
        return attacked_returns_words(rows).lines

    assert "none is 1% of the clean mean" in at(0.00999)[1] and len(at(0.00999)) == 2
    assert (
        "none" not in at(0.01001)[1] and "largest certified mean at eps 0.01: pruned -89.0" in at(0.01001)[1]
    )
    _, line = attacked_returns_words(table(lambda *_: 6e-6)).lines
    assert "none is 1%" in line


def test_the_largest_eps_that_leaves_something_is_the_largest_asked_for_that_does():
    lines = attacked_returns_words(table(lambda _, radius: 0.0 if radius else 400.0)).lines
    assert [line for line in lines if "largest certified mean" in line] == [lines[1]]
    assert lines[2] == (
        "at eps 0.02 no limit is 1% of the clean mean; the largest eps asked for at which one is: 0.01"
    )
    assert not any("no limit is 1%" in line for line in attacked_returns_words(table()).lines)


def test_no_smaller_eps_is_asked_for_where_that_is_not_what_is_missing():
    nothing = table(lambda *_: 0.0)
    _, line = attacked_returns_words(nothing.with_columns(spent=pl.lit(0.0))).lines
    assert "ask for more episodes" in line and "eps" not in line.split("none is")[1]
    _, line = attacked_returns_words(
        nothing.with_columns(mean_max_lowest=pl.lit(0.0), mean_blocks=pl.lit(0.0))
    ).lines
    assert line == (
        "certified returns: none, as no clean episode returns more than the lowest, 0; certify takes a lower "
        "--return-lowest"
    )


def apart():
    """Blocks certify more, of a sum that is larger still: 1000 of 5000 (a fifth), beside 400 of 1000."""
    by_blocks = {"mean_blocks": 5000.0, "certified_blocks": 1000.0, "attacked_blocks": 2000.0}
    return table(lambda *_: 400.0).with_columns(**{name: pl.lit(mean) for name, mean in by_blocks.items()})


def test_blocks_stand_beside_the_clean_mean_of_their_own_sum():
    said = printed(apart())
    assert "0.00 1000 certified 400 400 certified by blocks 1000 1000 clean by blocks 5000 5000" in said
    assert "under MAD by blocks 2000 2000 MAD finds 500 500" in said
    assert "by blocks: of the sum over blocks of max(return, share of the lowest), which is no less" in said
    assert "clean by blocks" not in printed(table()) and "by blocks: of the sum" not in printed(table())
    panels = {axes.get_title("left"): axes for axes in attacked_returns_figure(apart(), "hopper").axes}
    assert list(panels)[-3:] == ["certified by blocks", "clean by blocks", "under MAD by blocks"]
    assert panels["under MAD by blocks"].get_lines()[0].get_ydata().tolist() == [2000.0, 2000.0]
    before = attacked_returns_figure(apart().drop("attacked_blocks"), "hopper")
    assert [axes.get_title("left") for axes in before.axes][-1] == "clean by blocks"
    assert panels["clean by blocks"].get_lines()[0].get_ydata().tolist() == [5000.0, 5000.0]
    assert [trace["name"] for trace in certified_chart(apart()).traces if "blocks" in trace["name"]] == [
        f"{sparsity}, {kind} by blocks"
        for sparsity in ("0.00", "0.50")
        for kind in ("certified", "clean", "under MAD")
    ]
    assert "by blocks: of the sum" in certified_chart(apart()).caption


def test_the_larger_share_is_named_and_not_the_larger_number():
    assert any(
        line.startswith("largest certified mean at eps 0.01: pruned 400 of 1000")
        for line in attacked_returns_words(apart()).lines
    )
    more = apart().with_columns(certified_blocks=pl.lit(2500.0))
    assert any(
        line.startswith("largest certified mean by blocks at eps 0.01: pruned 2500 of 5000, 2000 under MAD (")
        for line in attacked_returns_words(more).lines
    )


def test_what_mad_leaves_is_of_max_r_lowest_and_of_r_in_tables_of_before():
    figure = attacked_returns_figure(table(), "hopper")
    assert figure.axes[1].get_lines()[0].get_ydata().tolist() == [700.0, 400.0]
    before = table().drop("attacked_max_lowest")
    assert "MAD finds, of R -300 -600" in printed(before) and "MAD finds 700 400" in printed(table())
    figure = attacked_returns_figure(before, "hopper")
    assert figure.axes[1].get_title("left") == "under MAD (estimate, of R itself)"
    assert figure.axes[1].get_lines()[0].get_ydata().tolist() == [-300.0, -600.0]
    assert {trace["meta"]["shown"] for trace in certified_chart(before).traces} == {
        "clean",
        "under MAD (estimate, of R itself)",
        "certified",
        "certified by blocks",
    }


def test_members_that_diverged_are_not_drawn_nor_are_their_pairs():
    figure = attacked_returns_figure(table(diverged={0}), "hopper")
    dense, pruned = (line.get_xydata().tolist() for line in figure.axes[2].get_lines())
    assert dense == [[0.01, 800.0], [0.02, 500.0]] and pruned == [[0.01, 1000.0], [0.02, 700.0]]
    with pytest.raises(ValueError, match="no rows to draw"):
        attacked_returns_figure(table(diverged={0, 2}), "hopper")


def test_arms_are_told_apart():
    both = pl.concat(
        [table(), table(lambda *_: 900.0).with_columns(pl.col("member") + 4, arm=pl.lit("sa-sgld"))]
    )
    words = attacked_returns_words(both)
    assert len(words.tables) == 2
    assert sum(line.startswith("certified returns: all 32") for line in words.lines) == 1
    assert any(
        line.startswith("ppo: largest certified mean at eps 0.01: pruned 1000") for line in words.lines
    )
    assert any(
        line.startswith("sa-sgld: largest certified mean at eps 0.01: pruned 900") for line in words.lines
    )
    said = printed(both)
    assert "ppo: mean of max(R, 0)" in said and "sa-sgld: mean of max(R, 0)" in said
    assert "0.00 1000 certified 600 300" in said and "0.00 1000 certified 900 900" in said


def test_nothing_is_said_of_members_that_all_diverged():
    assert attacked_returns_words(table(diverged={0, 1, 2, 3})) == ([], [], [])


def test_members_whose_dense_twin_diverged_are_left_out_with_it():
    said = printed(table(diverged=(0,)))  # seed 0, dense; of its sibling, 600 of 1000, nothing is shown
    assert said == printed(table().filter(seed=1))
