import io

import polars as pl
import pytest
from rich.console import Console

from jaxprune.analysis import EFFORT, TRANSFER
from jaxprune.report import effort_figure
from jaxprune.report.effort import search_alarms, strongest_table, transfer_tables


def test_a_panel_per_attack_and_a_line_per_member_dashed_where_nothing_was_measured():
    rows = [
        (member, attack, steps, 9 * steps, 4, value + member, value - 1, value + 2, steps == 400)
        for attack in ("sa-rl", "pa-ad")
        for member in (0, 1)
        for steps, value in ((100, 30.0), (200, 20.0), (400, 15.0))
    ]
    figure = effort_figure(pl.DataFrame(rows, schema=EFFORT, orient="row"), "hopper on native")
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert list(panels) == ["sa-rl", "pa-ad"]
    solid, dashed, *_ = (line for line in panels["pa-ad"].get_lines() if len(line.get_xydata()) == 2)
    assert solid.get_xydata().tolist() == [[100, 30], [200, 20]] and solid.get_linestyle() == "-"
    assert dashed.get_xydata().tolist() == [[200, 20], [400, 15]] and dashed.get_linestyle() == "--"
    assert "hopper on native" in figure.get_suptitle()


def test_without_rows_there_is_nothing_to_draw():
    with pytest.raises(ValueError, match="no rows to draw"):
        effort_figure(pl.DataFrame(schema=EFFORT), "hopper")


def test_transfer_is_a_table_of_victims_and_origins_over_seeds():
    rows = [
        ("ppo", seed, "sa-rl", 0, 1, origin, target, 4, value + seed, 0.0, 1.0, 0)
        for seed in (0, 2)
        for origin, target, value in ((0.0, 0.0, 10), (0.0, 0.5, 20), (0.5, 0.0, 30), (0.5, 0.5, 40))
    ]
    (table,) = transfer_tables(pl.DataFrame(rows, schema=TRANSFER, orient="row"))
    file = io.StringIO()
    Console(file=file, width=100).print(table)
    said = " ".join(file.getvalue().split())
    assert "ppo: mean return under the sa-rl found for another sparsity" in said
    assert "found for 0.00 found for 0.50" in said
    assert "0.00 11.0 31.0" in said and "0.50 21.0 41.0" in said


def test_nobody_searched_or_only_a_little_or_it_still_found_more():
    tried = pl.DataFrame({"attack": ["none", "mad", "sa-rl", "strongest"], "attackers_tried": [0, 1, 1, 2]})
    (only,) = search_alarms(tried, None, "quick")
    assert only.startswith("SHORT SEARCH: only mad, sa-rl attacked, and none of them has learned")
    assert only.endswith("; --attacks sa-rl,pa-ad looks for them")  # more of the same search would not
    assert search_alarms(tried, None, None)[0].endswith("; --search quick or small looks for them")
    tried = tried.with_columns(pl.col("attackers_tried") * 2)
    assert search_alarms(tried, None, "small") == []
    curve = {"member": 0, "attack": "sa-rl", "steps": [1, 2], "return_mean": [100.0, 94.0]}
    falls = pl.DataFrame({**curve, "extrapolated": False})
    quick, falling = search_alarms(tried, falls, "quick")
    assert "the quick one" in quick and "1 of 1 curves of return against training still fall" in falling
    for still in ([100.0, 96.0], [-100.0, -101.0]):
        assert search_alarms(tried, falls.with_columns(return_mean=pl.Series(still)), "small") == []
    worse = falls.with_columns(return_mean=pl.Series([-100.0, -106.0]))
    assert len(search_alarms(tried, worse, "small")) == 1


def test_every_return_of_an_attacker_stands_in_its_own_column():
    about = {"sparsity": 0.5, "attack": "strongest", "found_by": "sa-rl", "attackers_tried": 12}
    rows = [
        {"member": member, "episode_set": part, **about, "return_mean": mean + member}
        | {"return_low": mean - 5, "return_high": mean + 5, "return_median_attacker": 2 * mean}
        for part, mean in (("selection", 100.0), ("fresh", 300.0))
        for member in (3, 7)
    ]
    table = strongest_table(pl.DataFrame(rows))
    found = [[*column.cells] for column in table.columns]
    assert [column.header for column in table.columns][3:] == [
        *("fresh episodes", "interval", "as selected", "median attacker", "tried")
    ]
    assert [cells[1] for cells in found] == [
        *("7", "0.50", "strongest (sa-rl)", "307", "295..305", "107", "600", "12")
    ]
