"""What a command says at its end, on one screen, and the page that it has left behind."""

import html
import re
from pathlib import Path


def charts_of(folder: Path) -> set[str]:
    """Which charts the page of a finished run has. Nothing is missing, and nothing could not be shown."""
    page = (folder / "report.html").read_text()
    for said in ("NOT SHOWN", "INCOMPLETE", "DAMAGED"):
        assert f"<li>{said}:" not in page
    return set(re.findall(r'class="chart" id="r0-(\w+)"', page))


def words_of(folder: Path) -> str:
    """What is read on the page of a finished run, in one line."""
    page = (folder / "report.html").read_text().partition('<script type="application/json"')[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def ending(printed: str, started: str) -> str:
    """What a command printed after the last line with `started`, one screen at most, in one line."""
    lines = printed.rpartition(started)[2].splitlines()[1:]
    assert len(lines) <= 25
    assert lines[-1].startswith("the report is ")
    return " ".join(" ".join(lines).split())


def with_svg(*figures: str) -> set[str]:
    """The files of these figures, and the page."""
    return {f"{name}.{ending}" for name in figures for ending in ("png", "svg")} | {"report.html"}
