"""A command that is refused: one line, exit code 2, and nothing else."""

import re
from collections.abc import Callable

import pytest


def refused_in_one_line(run: Callable[[], object], capsys: pytest.CaptureFixture[str], said: str) -> None:
    """The command says so (a regular expression) before anything is done."""
    with pytest.raises(SystemExit) as leaving:
        run()
    printed = capsys.readouterr()
    assert leaving.value.code == 2
    assert re.search(said, printed.err) and printed.err.count("\n") == 1, printed.err
    assert printed.out == ""
