"""What the charts of the page draw: whose means, in which direction, and which number is said."""

import polars as pl
import pytest

from jaxprune.analysis import decompose
from jaxprune.report.numbers import number
from jaxprune.report.page import charts
from jaxprune.report.page.comparison import comparison_chart
from jaxprune.report.page.run import Run

FAR = "eps = 0.075 (linf norm, normalised observations)"


@pytest.fixture(name="results", scope="module")
def _results(synthetic):
    """Two arms of two seeds, two budgets; the arm `sa` returns half, and less where it is pruned."""
    one = synthetic.results(2, attacks={"random": 0.06, "mad": 0.38})
    less = 0.5 - 0.1 * pl.col("sparsity_asked")
    moved = {name: pl.col(name) * less for name in ("return_mean", "selection_mean")}
    return pl.concat([one, one.with_columns(pl.col("member") + 1000, arm=pl.lit("sa"), **moved)])


@pytest.fixture(name="regret", scope="module")
def _regret(results):
    return decompose(results)


def means(table, column, **where):
    """Over seeds, by sparsity."""
    return (
        table.filter(**where)
        .group_by("sparsity_asked")
        .agg(pl.mean(column))
        .sort("sparsity_asked")[column]
        .to_list()
    )


def drawn(chart, name, **meta):
    """The only trace of this name and these tags."""
    (trace,) = (
        t
        for t in chart.traces
        if t["name"] == name and all(t["meta"].get(tag) == v for tag, v in meta.items())
    )
    return trace


def test_the_regret_of_an_arm_is_its_own_and_the_smallest_is_said(regret):
    chart = charts.regret_chart(regret)
    where = {"attack": "strongest", "eps": 0.075, "arm": "sa"}
    for term, (name, *_) in charts.regret.TERMS.items():
        bars = drawn(chart, name, arm="sa", budget=FAR)
        assert bars["y"] == pytest.approx(means(regret, term, **where), rel=1e-4)
    total = means(regret, "total", **where)
    marks = drawn(chart, "total: best known - pruned under attack", arm="sa", budget=FAR)
    assert marks["y"] == pytest.approx(total, rel=1e-4)
    place = marks["x"][total.index(min(total))]
    assert f"sa: {FAR}: the total is smallest at sparsity {place}, {number(min(total))}" in chart.alt


def test_the_frontier_is_attacked_over_clean_return_of_one_budget(regret):
    chart = charts.frontier_chart(regret)
    where = {"attack": "strongest", "eps": 0.075, "arm": "sa"}
    line = drawn(chart, "sa: means over seeds", budget=FAR)
    clean, attacked = (means(regret, f"{what}_return", **where) for what in ("clean", "attacked"))
    assert line["x"] == pytest.approx(clean, rel=1e-4) and line["y"] == pytest.approx(attacked, rel=1e-4)
    assert attacked.index(max(attacked)) != clean.index(max(clean))
    best = line["text"][attacked.index(max(attacked))]
    assert f"sa: {FAR}: the largest mean return under attack, {max(attacked):.4g}, is at sparsity {best}" in (
        chart.alt
    )
    points = drawn(chart, "sa: members", budget=FAR)
    assert sorted(points["y"]) == pytest.approx(sorted(regret.filter(**where)["attacked_return"]), rel=1e-4)
    titles = [chart.layout[axis]["title"]["text"] for axis in ("xaxis", "yaxis")]
    assert titles == ["clean return", "return under the strongest attack"]


def test_the_strongest_attack_of_an_arm_is_that_of_its_members(results, regret):
    line, _ = (
        t
        for t in charts.returns_chart(results).traces
        if t["name"] == "sa: strongest attack" and t["meta"]["budget"] == FAR
    )
    wanted = means(regret, "attacked_return", attack="strongest", eps=0.075, arm="sa")
    assert line["y"] == pytest.approx(wanted, rel=1e-4)


def test_one_seed_and_one_episode_are_no_plural(results):
    one = results.filter(pl.col("seed") == 0)
    assert charts.returns_chart(one).caption.startswith(
        "Raw undiscounted returns, means of 100 episodes; one seed, so no interval; small points"
    )
    single = charts.returns_chart(one.with_columns(episodes=pl.lit(1, pl.Int64)))
    assert "returns, means of 1 episode; one seed" in single.caption
    assert "means over 2 seeds, each of 100 episodes; bars: 95 %" in charts.returns_chart(results).caption


def test_runs_are_compared_clean_with_clean_and_attacked_with_attacked(regret):
    chart = comparison_chart([Run(name, "sweep", {}, {"regret": regret}) for name in ("one", "two")])
    for what in ("clean", "attacked"):
        line = drawn(chart, f"two, sa, {FAR}", shown=what)
        wanted = means(regret, f"{what}_return", attack="strongest", eps=0.075, arm="sa")
        assert line["y"] == pytest.approx(wanted, rel=1e-4)


def test_monotone_bounds_are_solid_and_the_pair_is_the_smallest_of_each(synthetic):
    table = synthetic.certificates(1, budgets=(0.075,))
    chart = charts.bounds_chart(table)
    dashes = {t["name"]: t["line"]["dash"] for t in chart.traces}
    assert {name: dashes[name] for name in ("frobenius", "path", "spectral", "interval")} == {
        **dict.fromkeys(("frobenius", "path"), "solid"),
        **dict.fromkeys(("spectral", "interval"), "dash"),
    }
    of_distance = table.filter(kind="bound", quantity="delta")
    least = of_distance.group_by("sparsity_asked").agg(pl.min("value")).sort("sparsity_asked")["value"]
    assert drawn(chart, "tightest")["y"] == pytest.approx(least.to_list(), rel=1e-4)
    path = means(table, "value", bound="path")
    assert drawn(chart, "smallest monotone")["y"] == pytest.approx(path, rel=1e-4)
    found = means(table, "value", bound="found")
    assert drawn(chart, "largest found by an attack")["y"] == pytest.approx(found, rel=1e-4)


def test_training_is_told_by_where_it_ends(synthetic):
    curves = synthetic.curves(2, iterations=20)  # no running mean
    chart = charts.training_chart(curves)
    last = curves.filter(pl.col("iteration") == 19)
    for asked, name in ((0.0, "sparsity 0.00"), (0.9, "sparsity 0.90")):
        (end,) = means(last, "return_mean", sparsity_asked=asked)
        assert f"{name} ends at {number(end)}" in chart.alt
        lines = {t["meta"]["shown"]: t for t in chart.traces if t.get("name") == name}
        assert lines["return"]["y"][-1] == pytest.approx(end, rel=1e-4)
        assert lines["sparsity"]["y"][-1] == pytest.approx(asked, rel=1e-4)


def test_attackers_are_counted_from_one_and_averaged_over_the_members_of_a_sparsity():
    rows = [
        {"member": member, "attack": "sa-rl", "attacker": k, "best_of_first": 100.0 - 10 * k + member}
        for member in range(3)
        for k in range(2)
    ]
    chart = charts.tried_chart(pl.DataFrame(rows), {0: 0.0, 1: 0.5, 2: 0.5})
    line = drawn(chart, "sparsity 0.50")
    assert (line["x"], line["y"]) == ([1, 2], [101.5, 91.5])
    assert "sa-rl at 0.50 102 to 91.5" in chart.alt
