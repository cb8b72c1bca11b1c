"""The README says what was measured: its tables are those that the script makes from the kept results."""

from pathlib import Path

from benchmarks import readme

README = Path(__file__).parent.parent / "README.md"


def test_every_table_of_the_readme_is_what_the_script_writes():
    text = README.read_text()
    assert readme.BLOCK.search(text), "the README holds no table that the script knows"
    assert readme.written(text) == text


def test_the_script_changes_a_table_that_was_edited_by_hand():
    text = README.read_text()
    block = readme.BLOCK.search(text)
    edited = text[: block.start()] + block[0].replace("|", "| 0 ", 1) + text[block.end() :]
    assert readme.written(edited) == text


def test_no_number_table_stands_in_the_readme_outside_the_marks():
    left = readme.BLOCK.sub("", README.read_text())
    numbers = [line for line in left.splitlines() if line.startswith("|") and any(c.isdigit() for c in line)]
    assert numbers == []
