"""The page of a run: what it says, what it says is missing, and that names stay names."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from time import process_time

import polars as pl
import pytest

from experiments import by_arm
from jaxprune.analysis import against_dense, at_the_same_states
from jaxprune.errors import SpecError
from jaxprune.report import screen_words
from jaxprune.report.figures import heading
from jaxprune.report.numbers import number
from jaxprune.report.page import document, read_run, warnings, write_report
from jaxprune.report.page import tables as packed
from jaxprune.report.summary import attack_tables, budget_tables, difference_tables
from jaxprune.report.verdict import audit_lines, sweet_spot_lines
from tests.report.page import folders
from tests.report.test_attacked_returns import table as attacked_returns

SWEEP = ("results", "regret", "certificates", "verdicts")


def words(page: str) -> str:
    """What is read on a page, without scripts, in one line."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    Reader().feed(page.partition('<script type="application/json"')[0])
    return " ".join(" ".join(found).split())


def data(page: str, name: str) -> dict:
    (block,) = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', page)
    return json.loads(block)


@pytest.fixture(name="sweep", scope="module")
def _sweep(synthetic, tmp_path_factory):
    """The folder of a finished sweep."""
    return folders.sweep(tmp_path_factory.mktemp("runs") / "six", synthetic)


@pytest.fixture(name="page", scope="module")
def _page(sweep):
    return document([read_run(sweep)])


def test_the_page_holds_all_that_was_found(sweep, page):
    read, tables = words(page), {name: pl.read_parquet(sweep / f"{name}.parquet") for name in SWEEP}
    assert heading(tables["results"]) in read
    said = [*sweet_spot_lines(tables["verdicts"], 0.05, 1), *audit_lines(tables["certificates"])]
    assert len(said) > 5
    for line in said:
        assert " ".join(line.split()) in read
    assert "family-wise error 5%" in read
    assert "theorem: no mask ever raised a monotone bound (frobenius, path" in read
    # What the terminal no longer shows: returns by attack, one table for each budget, the placebo.
    shown = [
        *attack_tables(tables["results"]),
        *budget_tables(tables["regret"], tables["certificates"]),
        *difference_tables(tables["verdicts"]),
    ]
    assert len(shown) == 5
    for table in shown:
        assert str(table.title) in read
        for column in table.columns:
            for cell in column.cells:
                assert " ".join(str(cell).split()) in read
    assert "python -m experiments.sweep --env hopper --seeds 6" in read


def test_warnings_come_first_and_name_what_is_vacuous_and_how_short_the_search_was(page):
    warnings, _, rest = words(page).partition("What was asked")
    for said in (
        "VACUOUS: 192 of 192 bounds on value (horizon_gap, value_gap)",
        "SHORT SEARCH: only critic, mad,",
    ):
        assert said in warnings
        assert said not in rest
    assert "NOT SHOWN" not in warnings
    assert "INCOMPLETE" not in warnings


def test_too_few_seeds_are_a_warning(synthetic, tmp_path):
    read = words(document([read_run(folders.sweep(tmp_path / "two", synthetic, seeds=2))]))
    assert "TOO FEW SEEDS: 14 of 14 comparisons are undecided (2 seeds, " in read


def test_a_diverged_member_is_a_warning(sweep, tmp_path):
    run = read_run(sweep)
    member = pl.col("member") == 3
    for name in ("results", "regret", "certificates", "curves"):
        run.tables[name] = run.tables[name].with_columns(diverged=pl.col("diverged") | member)
    assert "DIVERGED: member 3 (seed 0" in words(document([run])).partition("What was asked")[0]


def test_the_same_tables_give_the_same_bytes(sweep, page):
    assert document([read_run(sweep)]) == page


def test_it_needs_nothing_from_elsewhere_and_is_small(sweep, page, tmp_path):
    assert re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?!data:)[^"]*"', page) == []
    assert "default-src 'none'" in page
    path = write_report([sweep], tmp_path / "page.html")
    assert path.read_text() == page
    assert path.stat().st_size < 8_000_000


def test_every_chart_is_there_with_a_sentence_of_its_numbers(sweep, page):
    charts = data(page, "charts")
    assert list(charts) == [
        f"r0-{name}" for name in ("bounds", "frontier", "layers", "regret", "returns", "training")
    ]
    alts = dict(
        re.findall(r'class="chart" id="r0-(\w+)">.*?role="img" aria-label="([^"]+)"', page, re.DOTALL)
    )
    assert set(alts) == {name.removeprefix("r0-") for name in charts}
    assert "at sparsity 0.90 from 0.40 in policy 2 (10 weights) to 0.90 in policy 1" in alts["layers"]
    clean = pl.read_parquet(sweep / "results.parquet").filter(attack="none")
    ends = [clean.filter(sparsity_asked=asked)["return_mean"].mean() for asked in (0.0, 0.9)]
    assert f"clean {number(ends[0])} at 0 to {number(ends[1])} at 0.9" in alts["returns"]


def test_the_returns_of_a_chart_are_means_over_seeds_with_every_seed_beside(sweep, page):
    traces = data(page, "charts")["r0-returns"]["data"]
    (mean, seeds) = (
        t for t in traces if t["name"] == "mad" and t["meta"]["budget"].startswith("eps = 0.075")
    )
    rows = pl.read_parquet(sweep / "results.parquet").filter(attack="mad", eps=0.075)
    expected = rows.group_by("sparsity").agg(pl.mean("return_mean")).sort("sparsity")["return_mean"]
    assert mean["y"] == pytest.approx(expected.to_list(), rel=1e-5)
    assert sorted(seeds["y"]) == pytest.approx(sorted(rows["return_mean"]), rel=1e-5)
    assert all(up > 0 for up in mean["error_y"]["array"])
    assert mean["error_y"]["array"] == pytest.approx(mean["error_y"]["arrayminus"], rel=1e-3)


def test_names_of_users_are_shown_and_never_run(synthetic, tmp_path):
    arm = "</script><img src=x onerror=alert(1)>"
    run = folders.sweep(tmp_path / "<b>run&", synthetic, arms=("ppo", arm), command="x <i>y</i>")
    page = document([read_run(run)])
    assert arm not in page
    assert "<b>run" not in page
    assert "<i>y" not in page
    read = words(page)
    assert arm in read
    assert "<b>run&" in read
    # Plotly reads some HTML in the names of its traces.
    names = {trace.get("name", "") for chart in data(page, "charts").values() for trace in chart["data"]}
    assert not any("<" in name for name in names)
    assert any("&lt;img" in name for name in names)


def test_two_arms_can_be_chosen_between(synthetic, tmp_path):
    page = document([read_run(folders.sweep(tmp_path / "arms", synthetic, arms=("ppo", "sa")))])
    returns = page[page.index('id="r0-returns"') :]
    returns = returns[: returns.index("</figure>")]
    options = re.findall(r'data-tag="(\w+)">(.*?)</select>', returns, re.DOTALL)
    offered = {tag: re.findall(r'<option value="([^"]+)"', inside) for tag, inside in options}
    assert offered["arm"] == ["all", "ppo", "sa"]
    assert offered["attack"] == ["all", "strongest attack", "critic", "mad", "pa-ad", "random"]
    assert len(offered["budget"]) == 2
    assert "sa: theorem: no mask ever" in words(page)


def test_arms_that_were_certified_together_are_told_of_apart(synthetic, tmp_path):
    """The tightest bound falls from 4 to 2 in one arm and rises from 4 to 6 in the other."""
    one = folders.bounds(synthetic)
    risen = pl.when(pl.col("sparsity_asked") > 0).then(3 * pl.col("value")).otherwise("value")
    of_members = {name: one[name] for name in ("states", "certificates", "returns")}
    new = (pl.col("member") + 100, pl.lit("sa").alias("arm"))
    other = {name: rows.with_columns(*new) for name, rows in of_members.items()}
    other["states"] = other["states"].with_columns(value=risen)
    tables = {name: pl.concat([one[name], rows]) for name, rows in other.items()}
    tables["members"] = at_the_same_states(tables["states"])
    tables["audit"] = against_dense(tables["states"])
    about = {"format": 3, **folders.CERTIFIED, **folders.VERSIONS}
    run = folders.write(tmp_path / "arms", "certify.json", about, tables)
    read = words(document([read_run(run)]))
    assert "ppo: tight verdict, the policy's own ball: the tightest bound rose at none of" in read
    assert "sa: tight verdict, the policy's own ball: the tightest bound rose in the mean over states" in read
    by_arm.draw_bounds(run, tables["members"], "hopper on native")
    assert {path.name for path in run.glob("*.png")} == {"bounds-ppo.png", "bounds-sa.png"}


def test_only_bounds_on_value_are_counted_among_the_vacuous(synthetic):
    certificates = synthetic.certificates(1, budgets=(0.075,))
    of_value = (certificates["quantity"] == "return").sum()
    limit = certificates.filter(quantity="return").head(1)
    limits = limit.with_columns(quantity=pl.lit("tv_limit"), bound=pl.lit("tightest"), vacuous=pl.lit(False))
    (line,) = warnings.vacuous(pl.concat([certificates, limits]))
    assert line.startswith(f"VACUOUS: {of_value} of {of_value} bounds on value (horizon_gap, value_gap)")


def test_an_unfinished_run_opens_and_says_what_is_missing(synthetic, tmp_path):
    page = document([read_run(folders.unfinished(tmp_path / "half", synthetic))])
    read = words(page)
    assert "INCOMPLETE: not there are results, certificates, regret, verdicts, episodes, sampled;" in read
    assert "go on with python -m experiments.sweep --resume half" in read
    assert list(data(page, "charts")) == ["r0-training"]


def test_a_damaged_table_is_named(sweep, synthetic, tmp_path):
    run = folders.sweep(tmp_path / "damaged", synthetic)
    (run / "layers.parquet").write_bytes(b"PAR1")
    page = document([read_run(run)])
    assert "DAMAGED: cannot be read: layers (written by jaxprune 0.1.0, format 3)" in words(page)
    assert "r0-layers" not in data(page, "charts")


def test_a_run_of_an_older_program_shows_what_can_be_shown_and_names_it(synthetic, tmp_path):
    run = folders.sweep(tmp_path / "old", synthetic, format=2, versions={"jaxprune": "0.0.9"})
    for name in ("certificates", "curves"):
        path = run / f"{name}.parquet"
        pl.read_parquet(path).drop("arm").write_parquet(path)
    page = document([read_run(run)])
    read = words(page)
    assert "Written by jaxprune 0.0.9, format 2" in read
    assert "r0-returns" in data(page, "charts")
    pl.read_parquet(run / "results.parquet").drop("charge").write_parquet(run / "results.parquet")
    read = words(document([read_run(run)]))
    assert (
        "NOT SHOWN: the summary cannot be made of the tables of jaxprune 0.0.9, format 2 (results: missing"
        in read
    )
    # What can be drawn is drawn all the same.
    assert {"r0-bounds", "r0-training"} <= set(data(document([read_run(run)]), "charts"))


def test_no_run_and_a_newer_run_are_refused(sweep, synthetic, tmp_path):
    with pytest.raises(SpecError, match="is no folder of a run"):
        read_run(tmp_path)
    newer = folders.sweep(tmp_path / "newer", synthetic, format=4, versions={"jaxprune": "9"})
    with pytest.raises(SpecError, match="by jaxprune 9, format 4; this program reads formats up to 3"):
        read_run(newer)
    (newer / "spec.json").write_text("{")
    with pytest.raises(SpecError, match=r"spec.json cannot be read"):
        read_run(newer)


def test_an_attack_search_shows_how_hard_was_looked(synthetic, tmp_path):
    page = document([read_run(folders.attack(tmp_path / "attack", synthetic))])
    read = words(page)
    warnings = read.partition("What was asked")[0]
    assert "SHORT SEARCH: the quick one" in warnings
    assert "SHORT SEARCH: 2 of 2 curves of return against training still fall by more than 5 %" in warnings
    assert "NOT SHOWN" not in warnings
    charts = data(page, "charts")
    assert {"r0-returns", "r0-regret", "r0-frontier", "r0-effort", "r0-tried"} == set(charts)
    assert "sa-rl on member 0 30.0 to 20.0" in read
    (dotted, _) = (t for t in charts["r0-effort"]["data"] if t["line"]["dash"] == "dot")
    assert (dotted["x"], dotted["y"]) == ([200, 400], [20, 15])


def test_shifted_dynamics_have_their_own_page(tmp_path):
    page = document([read_run(folders.shift(tmp_path / "shift"))])
    read = words(page)
    assert "NOT SHOWN" not in read
    assert "shifted dynamics: mean return over 2 shifts" in read
    (dense, pruned) = data(page, "charts")["r0-shifts"]["data"]
    assert (dense["x"], dense["y"]) == ([1, 2], [1002.5, 501.25])
    assert pruned["y"] == dense["y"]


def test_runs_are_compared_and_told_apart(sweep, synthetic, tmp_path):
    other = folders.sweep(tmp_path / "six", synthetic, seeds=7)
    path = write_report([sweep, other], tmp_path / "both.html")
    page = path.read_text()
    names = {trace["meta"]["run"] for trace in data(page, "charts")["all-comparison"]["data"]}
    assert names == {f"{folder.parent.name}/six" for folder in (sweep, other)}
    assert {"r0-returns", "r1-returns"} <= set(data(page, "charts"))
    assert path.stat().st_size < 8_000_000


def test_full_tables_are_those_of_the_files(sweep, page):
    table = pl.read_parquet(sweep / "results.parquet")
    held = data(page, "tables")["r0-results"]
    assert held["rows"] == table.height
    for column in held["columns"]:
        values = [column["same"]] * table.height if "same" in column else column["values"]
        expected = table[column["name"]].to_list()
        assert values == (
            pytest.approx(expected, rel=1e-6) if table[column["name"]].dtype.is_float() else expected
        )


def test_what_json_has_no_number_for_is_a_word():
    held = packed.columns(pl.DataFrame({"x": [1.0, float("inf"), float("nan"), None], "y": [2, 2, 2, 2]}))
    assert held["columns"][0]["values"] == [1.0, "inf", "nan", None]
    assert held["columns"][1] == {"name": "y", "same": 2}
    json.dumps(held, allow_nan=False)


def test_of_tables_too_large_for_the_page_the_first_rows_are_there(sweep, page, monkeypatch):
    room = 120_000
    without = len(page.encode()) - len(json.dumps(data(page, "tables")))
    monkeypatch.setattr("jaxprune.report.page.assembly.MOST_BYTES", without + room)
    small = document([read_run(sweep)])
    held, results = data(small, "tables"), pl.read_parquet(sweep / "results.parquet")
    assert data(small, "charts") == data(page, "charts")
    assert set(held) == set(data(page, "tables"))
    assert len(small.encode()) < without + room + 2_000  # and what stands around the tables
    # The small tables are whole, of the others there are as many rows as fit.
    assert held["r0-verdicts"] == data(page, "tables")["r0-verdicts"]
    rows = held["r0-results"]["rows"]
    assert 0 < rows < results.height
    (members,) = (c for c in held["r0-results"]["columns"] if c["name"] == "member")
    assert members["values"] == results["member"].to_list()[:rows]
    assert (
        f"Too large for this page, and in the folder of the run: results.csv, of which the first {rows} of "
        f"{results.height} rows are here" in words(small)
    )


def test_a_page_without_room_for_a_row_names_its_tables_and_charts(sweep, page, monkeypatch):
    monkeypatch.setattr("jaxprune.report.page.assembly.MOST_BYTES", 0)
    monkeypatch.setattr("jaxprune.report.page.assembly.MOST_OF_CHARTS", 20_000)
    bare = document([read_run(sweep)])
    assert data(bare, "tables") == {}
    drawn = data(bare, "charts")
    assert len(json.dumps(drawn)) < 20_000 and 0 < len(drawn) < len(data(page, "charts"))
    said = words(bare).partition("Too large for this page")[2]
    assert f"results.csv, {pl.read_parquet(sweep / 'results.parquet').height} rows" in said
    gone = {
        "returns": "Return against sparsity",
        "training": "Learning curves",
        "layers": "Sparsity of every",
    }
    for name, title in gone.items():
        assert (f'the chart "{title}' in said) == (f"r0-{name}" not in drawn)
    assert 'the chart "Return against sparsity"' in said


def test_the_page_of_a_thousand_members_is_small_and_soon_there(synthetic, tmp_path):
    run = folders.huge(tmp_path / "huge", synthetic)
    started = process_time()
    path = write_report([run])
    assert process_time() - started < 20
    assert path.stat().st_size < 8_000_000
    page = path.read_text()
    assert {"r0-returns", "r0-frontier", "r0-training", "r0-layers", "r0-bounds"} <= set(data(page, "charts"))
    said = words(page)
    assert "NOT SHOWN" not in said
    # 6,000 points of 8 x (31 + 3) a seed; of 500 iterations 150 are drawn
    assert "Small points are members of the first 22 of 125 seeds" in said
    assert "one in 3 of the 500 iterations is drawn, all are in curves.csv" in said
    points = [t for t in data(page, "charts")["r0-returns"]["data"] if t["mode"] == "markers"]
    assert sum(len(trace["x"]) for trace in points) == 22 * 8 * (31 + 3)
    rows = data(page, "tables")["r0-results"]["rows"]
    assert rows > 1_000
    assert f"results.csv, of which the first {rows:,} of 31,000 rows are here" in said


def test_videos_are_in_the_page_as_far_as_they_fit(synthetic, tmp_path):
    run = folders.sweep(tmp_path / "run", synthetic, seeds=1)
    (run / "watch-mad-seed-0.avif").write_bytes(b"any bytes")
    (run / "watch-long.avif").write_bytes(bytes(2_500_000))
    (run / "other.avif").write_bytes(b"no video of ours")
    page = document([read_run(run)])
    assert re.findall(r'<img src="([^"]*)"', page) == ["data:image/avif;base64,YW55IGJ5dGVz"]
    assert "Too large for this page, and in the folder of the run: watch-long.avif." in words(page)
    assert "other.avif" not in page
    assert '<a href="#r0-watch">' in page and 'id="r0-watch"' in page


def test_the_terminal_is_left_with_one_table_and_the_verdicts(sweep):
    results, regret, certificates, spots = (pl.read_parquet(sweep / f"{name}.parquet") for name in SWEEP)
    screen = screen_words(results, regret, certificates, spots)
    (table,) = screen.tables
    assert table.row_count == 8
    assert len(screen.lines) == 2  # one for each budget


def test_the_folder_is_where_the_page_of_one_run_goes(synthetic, tmp_path):
    run = folders.sweep(tmp_path / "run", synthetic, seeds=1)
    assert write_report([run]) == run / "report.html"
    assert Path(run / "report.html").read_text() == document([read_run(run)])


def test_certified_returns_of_a_sweep_are_in_words_table_and_chart(synthetic, tmp_path):
    folder = folders.sweep(tmp_path / "run", synthetic)
    attacked_returns().write_parquet(folder / "attacked_returns.parquet")
    page = document([read_run(folder)])
    said = words(page)
    assert "all 32 limits hold together at 0.95" in said
    assert "largest certified mean at eps 0.01: pruned 1000 of 1000" in said
    assert "certified by blocks" in said and "NOT SHOWN" not in said


def test_one_seed_has_no_bars(synthetic, tmp_path):
    page = document([read_run(folders.sweep(tmp_path / "one", synthetic, seeds=1))])
    drawn = data(page, "charts")["r0-bounds"]["data"]
    assert drawn
    assert not any("error_y" in trace for trace in drawn)


def test_certified_returns_that_were_asked_for_and_are_not_there_are_missed(synthetic, tmp_path):
    folder = folders.sweep(tmp_path / "run", synthetic)
    about = json.loads((folder / "spec.json").read_text())
    about["spec"]["return_episodes"] = 30
    (folder / "spec.json").write_text(json.dumps(about))
    assert "INCOMPLETE: not there are attacked_returns, attacked_return_curve" in words(
        document([read_run(folder)])
    )


def test_the_page_says_where_the_time_went(synthetic, tmp_path):
    folder = folders.sweep(tmp_path / "timed", synthetic)
    assert "Took" not in words(document([read_run(folder)]))
    phases = [
        {"name": "training", "seconds": 240.0, "processor": 400.0, "compiling": 12.0, "steps": 100},
        {"name": "evaluation", "seconds": 66.0, "processor": 100.0, "compiling": 6.0, "steps": 10},
    ]
    (folder / "phases.json").write_text(json.dumps(phases))
    read = words(document([read_run(folder)]))
    assert "Took 5.1 min: training 4.0, evaluation 1.1; 0.3 of these were spent on compiling" in read
    (folder / "phases.json").write_text('[{"name": "training"}]')
    assert "NOT SHOWN: where the time went" in words(document([read_run(folder)]))
