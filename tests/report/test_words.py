"""What a report says is on one screen, and what does not fit is counted."""

import io

import pytest

from jaxprune.report import Words, joined, open_console
from jaxprune.report.console import WIDTH, plain_table


def table(rows):
    made = plain_table("numbers", "sparsity", "return")
    for row in range(rows):
        made.add_row(str(row), "1.00")
    return made


def printed(words):
    console = open_console(io.StringIO())
    words.print(console)
    return console.file.getvalue().rstrip().splitlines()


def test_what_fits_is_shown_whole_warnings_first_and_the_table_last():
    lines = printed(Words(["WRONG: all"], [table(2)], ["verdict: none"]))
    assert [line.rstrip() for line in lines[:4]] == ["WRONG: all", "- verdict: none", "", "numbers"]
    assert [line.split() for line in lines[-2:]] == [["0", "1.00"], ["1", "1.00"]]


@pytest.mark.parametrize("alarms", [0, 100])
@pytest.mark.parametrize("sentences", [0, 100])
@pytest.mark.parametrize("rows", [0, 100])
def test_it_is_one_screen_however_much_there_is_to_say(alarms, sentences, rows):
    tables = [table(rows)] if rows else []
    lines = printed(Words(["DIVERGED"] * alarms, tables, ["so it is"] * sentences))
    assert len(lines) <= 23
    assert lines.count("DIVERGED") == (4 if alarms else 0)
    # Six lines beside a long table; without one, what the warnings leave of twenty-two.
    said_lines = 6 if rows else 18 if alarms else 22
    assert sum(line.startswith("- so it is") for line in lines) == (said_lines if sentences else 0)
    shown = sum(line.split()[1:] == ["1.00"] for line in lines)
    assert shown >= (8 if rows else 0)
    said = [
        *(["96 more warnings"] if alarms else []),
        *([f"{100 - said_lines} more sentences"] if sentences else []),
        *([f"{100 - shown} more table lines"] if rows else []),
    ]
    assert lines[-1:] == ([f"(in the report: {', '.join(said)})"] if said else [])


@pytest.mark.parametrize(("rows", "shown"), [(3, 15), (5, 13), (100, 6)])
def test_sentences_have_the_room_that_a_short_table_leaves(rows, shown):
    lines = printed(Words([], [table(rows)], ["so it is"] * 100))
    assert sum(line.startswith("- so it is") for line in lines) == shown
    assert len(lines) == 23


def test_a_sentence_is_shown_whole_or_not_at_all():
    long = "word " * 50  # three lines
    lines = printed(Words(lines=[long] * 8))
    assert sum(line.count("word") for line in lines) == 350
    assert max(map(len, lines)) <= WIDTH
    # The first is shown in any case.
    assert sum(line.count("word") for line in printed(Words(lines=["word " * 200]))) == 200


def test_several_reports_are_one():
    one, other = Words(["a"], [table(1)], ["b"]), Words(["c"], [], ["d"])
    assert joined([one, other]) == Words(["a", "c"], one.tables, ["b", "d"])
