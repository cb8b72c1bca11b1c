"""`python -m experiments.report`: where it writes, and how it refuses."""

import sys
from types import SimpleNamespace

import pytest

from experiments.command import run_command
from experiments.report import Arguments, main
from tests.experiments.reports import charts_of
from tests.report import conftest as made_up
from tests.report.page import folders

SYNTHETIC = SimpleNamespace(results=made_up.results, certificates=made_up.certificates, curves=made_up.curves)


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["experiments.report", *map(str, arguments)])
    run_command(Arguments, main)


def test_the_page_of_one_run_is_in_its_folder_and_of_several_where_asked(tmp_path, monkeypatch, capsys):
    runs = [folders.sweep(tmp_path / name, SYNTHETIC, seeds=2) for name in ("one", "other")]
    command(monkeypatch, runs[0])
    assert capsys.readouterr().out.strip() == f"the report is {runs[0] / 'report.html'}"
    assert "returns" in charts_of(runs[0])
    command(monkeypatch, *runs, "--out", tmp_path / "both.html")
    page = (tmp_path / "both.html").read_text()
    assert 'id="all-comparison"' in page and 'id="r1-returns"' in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "runs: name at least one folder of a run"),
        (["nowhere"], "runs: nowhere is no folder of a run"),
        (["one", "nowhere", "--out", "both.html"], "runs: nowhere is no folder of a run"),
        (["one", "one"], "out: several runs share no folder; give --out FILE.html"),
        (["one", "--out", "one/results.csv"], "out: one/results.csv must end in .html"),
        (["one", "--out", "no/page.html"], "out: cannot write no/page.html (No such file or directory)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_written(
    arguments, said, tmp_path, monkeypatch, capsys
):
    folders.unfinished(tmp_path / "one", SYNTHETIC)
    before = set(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        command(monkeypatch, *arguments)
    printed = capsys.readouterr()
    assert leaving.value.code == 2
    assert said in printed.err and printed.err.count("\n") == 1
    assert printed.out == ""
    assert set(tmp_path.rglob("*")) == before
