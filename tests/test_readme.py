"""README and docs say what was measured: their tables are what the script makes from the kept results."""

from pathlib import Path

import pytest

from benchmarks import readme

PAGES = {page.name: page for page in readme.pages()}
of_every_page = pytest.mark.parametrize("name", PAGES)


@of_every_page
def test_every_table_is_what_the_script_writes(name: str):
    text = PAGES[name].read_text()
    assert readme.BLOCK.search(text), "the page holds no table that the script knows"
    assert readme.written(text) == text


@of_every_page
def test_the_script_changes_a_table_that_was_edited_by_hand(name: str):
    text = PAGES[name].read_text()
    block = readme.BLOCK.search(text)
    edited = text[: block.start()] + block[0].replace("|", "| 0 ", 1) + text[block.end() :]
    assert readme.written(edited) == text


@of_every_page
def test_no_number_table_stands_outside_the_marks(name: str):
    left = readme.BLOCK.sub("", PAGES[name].read_text())
    numbers = [line for line in left.splitlines() if line.startswith("|") and any(c.isdigit() for c in line)]
    assert numbers == []


def test_a_table_is_found_by_its_place_under_a_heading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    (tmp_path / "found.md").write_text(
        "# All\n\n| a |\n\n## one, two\n\n| b |\n\n| c |\n\n## three\n\n| d |\n"
    )
    assert readme.table("found.md one, two 2") == "| c |"
    assert readme.table("found.md three 1") == "| d |"
    assert readme.table("found.md 2") == "| b |"
