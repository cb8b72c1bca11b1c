import io
import os

import pytest
from rich.console import Console

from jaxprune.progress import Update
from jaxprune.report import LiveProgress, open_console, plan


def test_the_plan_shows_names_and_settings():
    console = open_console(io.StringIO())
    console.print(plan({"task": "hopper", "population": "3 seeds x 2 sparsities"}))
    lines = console.file.getvalue().splitlines()
    assert any("task" in line and "hopper" in line for line in lines)
    assert any("population" in line and "3 seeds x 2 sparsities" in line for line in lines)


def test_a_pipe_gets_one_plain_line_per_update():
    file = io.StringIO()
    with LiveProgress(open_console(file), total_steps=2_000) as live:
        live.show(Update("train", 500, 100.0, rows=((0.0, float("nan"), 0), (0.5, 812.4, 7))))
        assert file.getvalue().endswith("\n")
        live.show(Update("certify", 2_000, 0.0))
    first, second = file.getvalue().splitlines()
    assert first == (
        "train, 25% of 2000 steps, 100 steps/s, 0:00:00 elapsed, 0:00:15 left at this speed, "
        "return 0.00:- 0.50:812"
    )
    assert second == "certify, 100% of 2000 steps, 0:00:00 elapsed"  # no speed is known
    assert file.getvalue().replace("\n", "").isprintable()


def test_a_pipe_that_nobody_reads_stops_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    file = os.fdopen(writing, "w", buffering=1)
    with LiveProgress(open_console(file), total_steps=2) as live:
        live.show(Update("train", 1, 0.0))
        live.show(Update("train", 2, 0.0))
    console = open_console(file)
    console.print("and it was told")
    file.close()


def test_brackets_in_names_are_no_markup():
    console = open_console(io.StringIO())
    console.print(plan({"out": "a[bold]b"}))
    console.print("the report is r[v2].html")
    assert "a[bold]b" in console.file.getvalue() and "r[v2].html" in console.file.getvalue()


def test_a_terminal_gets_one_display_that_is_redrawn():
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, width=100, color_system=None, _environ={"TERM": "xterm"}
    )
    with LiveProgress(console, total_steps=2_000) as live:
        live.show(Update("train", 500, 100.0, rows=((0.5, 812.4, 7),)))
    shown = file.getvalue()
    assert all(
        part in shown for part in ("train", "25%", "100 steps/s", "0:00:15 left at this speed", "0.50", "812")
    )
    assert "\x1b[?25h" in shown  # the cursor is back


def test_an_error_inside_goes_through_and_gives_the_terminal_back():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, _environ={"TERM": "xterm"})
    with pytest.raises(KeyError), LiveProgress(console, total_steps=1):
        raise KeyError
    assert "\x1b[?25h" in file.getvalue()


def test_a_sweep_without_steps_is_refused():
    with pytest.raises(ValueError, match="total_steps=0"):
        LiveProgress(open_console(io.StringIO()), total_steps=0)
