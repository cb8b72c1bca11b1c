"""A run that failed half-way, that was damaged, or that an older program wrote, still has its page."""

import json
from pathlib import Path

import polars as pl
import pytest

from jaxprune.report.page import document, read_run, run
from jaxprune.report.page.story import tell
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
