"""What is shown of certified returns."""

import polars as pl
import pytest

from jaxprune.report import attacked_returns_figure, attacked_returns_words
from tests.report.texts import whole

RADII = (0.01, 0.02)


def table(certified=lambda member, radius: 400.0 + 200 * member - 300 * radius, diverged=()):
    """Two seeds at sparsity 0 and 0.5, clean 1000; attacked 100 and by blocks 50 above what is certified."""
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
                    "certified_blocks": None if limit is None else limit and limit + 50,
                    "attacked_mean": None if limit is None else limit + 100,
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
    assert "0.00 1000 certified 600 300 certified by blocks 650 350 MAD finds 700 400" in said


def test_the_largest_limits_are_named():
    lines = attacked_returns_words(table()).lines
    assert lines[0] == (
        "certified returns: all 32 limits hold together at 0.95, over 50 episodes of each member, others "
        "chose; MAD: 10 episodes"
    )
    assert lines[1] == (
        "largest certified mean at eps 0.01: pruned 1000 of 1000 (member 3, sparsity 0.5), dense 800 of 1000 "
        "(member 2, sparsity 0)"
    )
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
    assert "none above the lowest" in line and "spend 1.50 or more at eps 0.01" in line
    # twice as much as .75 is spent at .01
    assert "little beyond 0.750" in line and "ask for 0.005 or less" in line


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
