"""A run that failed half-way, that was damaged, or that an older program wrote, still has its page."""

import json
from pathlib import Path

import polars as pl
import pytest

from jaxprune.analysis import against_dense, at_the_same_states, shift_verdicts, summarise_shifts
from jaxprune.report.page import document, read_run, run
from jaxprune.report.page.comparison import comparison_rows
from jaxprune.report.page.story import tell
from jaxprune.report.page.warnings import vacuous
from tests.report.page import folders

MAKERS = {
    "sweep": lambda folder, synthetic: folders.sweep(folder, synthetic, seeds=1),
    "attack": folders.attack,
    "certify": folders.certify,
    "shift": lambda folder, _: folders.shift(folder),
    "audit": folders.audit,
}
TABLES = {
    "sweep": (*["results", "certificates", "regret", "verdicts", "curves", "layers", "episodes", "sampled"],),
    "attack": (*["results", "tried", "regret", "verdicts", "effort"],),
    "certify": (*["states", "members", "audit", "certificates", "returns"],),
    "shift": (*["shifts", "shift_summary", "shift_verdicts"],),
    "audit": (*["states", "members", "audit", "certificates", "returns", "results", "tried"],),
}
CASES = [(kind, table) for kind, tables in TABLES.items() for table in tables]


@pytest.fixture(name="made", scope="module")
def _made(synthetic, tmp_path_factory):
    """A finished run of every kind."""
    home = tmp_path_factory.mktemp("runs")
    return {kind: make(home / kind, synthetic) for kind, make in MAKERS.items()}


@pytest.mark.parametrize("kind", MAKERS)
def test_all_there_is_is_told_of_a_whole_run(made, kind):
    whole = read_run(made[kind])
    assert set(whole.tables) == set(TABLES[kind])
    story = tell(whole)
    said = " ".join(story.warnings)
    assert not any(word in said for word in ("NOT SHOWN", "INCOMPLETE", "DAMAGED", "EMPTY"))
    assert story.charts and story.tables and story.lines


@pytest.mark.parametrize(("kind", "table"), CASES)
def test_without_a_table_without_its_rows_or_without_its_columns_there_is_a_story(made, kind, table):
    whole = read_run(made[kind])

    def warnings(**changed: pl.DataFrame) -> str:
        """What the page warns of; `table` is as given, or not there."""
        tables = {name: rows for name, rows in whole.tables.items() if name != table}
        return " ".join(tell(run.Run(whole.name, kind, whole.about, tables | changed)).warnings)

    author = "jaxprune 0.1.0, format 3"
    rows = whole.tables[table]
    empty = warnings(**{table: rows.clear()})
    if table in run._NEEDED[kind] and table not in run._MAY_BE_EMPTY:
        # Then it is as if it were not there.
        assert f"EMPTY: no rows are in {table} (written by {author})" in empty
    else:
        assert "NOT SHOWN" not in warnings()
    few_columns = warnings(**{table: rows[:, :1]})
    shown = table not in ("episodes", "sampled")
    assert (f"cannot be made of the tables of {author}" in few_columns) == shown


@pytest.mark.parametrize(("kind", "table"), CASES)
def test_a_file_that_is_missing_cut_off_or_no_table_is_named(made, kind, table):
    path = made[kind] / f"{table}.parquet"
    content = path.read_bytes()
    try:
        for damaged in (b"", b"PAR1", content[: len(content) // 2], content[:-1], b"\0" * len(content)):
            path.write_bytes(damaged)
            broken = read_run(made[kind])
            assert broken.unreadable == (table,) and table not in broken.tables
        path.unlink()
        assert read_run(made[kind]).missing == ((table,) if table in run._NEEDED[kind] else ())
    finally:
        path.write_bytes(content)


def test_a_file_over_which_polars_panics_is_damaged(made, monkeypatch):
    def panic(path: Path) -> pl.DataFrame:
        raise pl.exceptions.PanicException(f"{path}: assertion failed")

    monkeypatch.setattr(pl, "read_parquet", panic)
    assert set(read_run(made["shift"]).unreadable) == set(TABLES["shift"])


def test_a_run_of_a_program_that_wrote_no_version_says_so(made, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    for name in TABLES["sweep"]:
        table = pl.read_parquet(made["sweep"] / f"{name}.parquet")
        (table if name == "curves" else table[:, :3]).write_parquet(old / f"{name}.parquet")
    (old / "spec.json").write_text(json.dumps({"spec": ["hopper"]}))
    page = document([read_run(old)])
    assert "Written by jaxprune unknown, format 1" in page
    assert "NOT SHOWN: the summary cannot be made of the tables of jaxprune unknown, format 1" in page
    assert 'id="r0-training"' in page


# --- what a command wrote down about itself --------------------------------------------------------------


def test_a_certification_is_told_as_sure_as_it_was_and_as_it_was_pruned(synthetic):
    tables = folders.bounds(synthetic)
    less = pl.when(bound="tightest", sparsity_asked=0.5).then(1.5).otherwise("value")
    states = tables["states"].with_columns(value=less)
    tables |= {"states": states, "members": at_the_same_states(states), "audit": against_dense(states)}
    for post_hoc, said in ((True, "pruning has made the policy more"), (False, "this policy moves less far")):
        about = {"certification": {"confidence": 0.999}, "population": {"pruned_post_hoc": post_hoc}}
        lines = " ".join(tell(run.Run("c", "certify", about, tables)).lines)
        assert "value gaps hold with confidence 0.999" in lines and said in lines


def test_shifts_of_several_arms_are_told_apart_with_the_error_of_their_population(made):
    whole = read_run(made["shift"])
    new = pl.col("member") + 100, pl.lit("sa").alias("arm")
    shifts = pl.concat([whole.tables["shifts"], whole.tables["shifts"].with_columns(*new)])
    summary = summarise_shifts(shifts)
    tables = {"shifts": shifts, "shift_summary": summary, "shift_verdicts": shift_verdicts(summary)}
    about = {"shifts": {}, "population": {"verdict_error": 0.025}}
    told = tell(run.Run("s", "shift", about, tables))
    for arm in ("ppo", "sa"):
        assert any(line.startswith(f"{arm}, shifted dynamics: family-wise error 2.5%") for line in told.lines)


def test_a_published_eps_is_told_as_the_number_it_was():
    about = {"audit": {"eps": "published", "norm": "linf"}, "population": {"task": "hopper", "eps": 9}}
    told = tell(run.Run("a", "audit", about | {"resolved": {"eps": 0.075}}))
    assert told.asked == ["task: hopper", "eps: 0.075", "norm: linf"]


def test_members_that_diverged_are_not_among_the_vacuous(synthetic):
    table = synthetic.certificates(1, budgets=(0.075,))
    (line,) = vacuous(table.with_columns(diverged=pl.col("member") == 3))
    assert line.startswith("VACUOUS: 14 of 14 bounds on value")  # two of each of seven members


def test_a_row_of_a_comparison_counts_the_warnings_of_its_run(made):
    whole = read_run(made["sweep"])
    story = tell(whole)
    ((name, _, warnings, first),) = comparison_rows([(whole, story)])
    assert (name, warnings, first) == ("sweep", len(story.warnings), story.lines[0])
    assert len(story.warnings) != len(story.lines)
