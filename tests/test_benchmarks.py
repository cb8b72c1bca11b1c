"""The command lines of benchmarks: a mistake is one line there, too."""

import re
import runpy
import sys
from pathlib import Path

import pytest

import benchmarks
from tests.experiments.refusals import refused_in_one_line

FOLDER = Path(benchmarks.__file__).parent


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [("deciding", "--task=hoper", "env: .*did you mean 'hopper'"), ("released", "--agents=x", "agent: x: ")],
)
def test_a_mistake_is_one_line(name, option, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, option, "--out", "out"])
    monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)
    run = lambda: runpy.run_module(f"benchmarks.{name}", run_name="__main__")  # noqa: E731
    refused_in_one_line(run, capsys, f"^error: {said}")
    assert not list(tmp_path.iterdir())


def test_every_command_line_says_so():
    parsing = [path for path in FOLDER.glob("*.py") if "tyro.cli(" in path.read_text()]
    assert parsing and all(re.search(r"with in_one_line\(\):\n\s+.*tyro.cli", p.read_text()) for p in parsing)
