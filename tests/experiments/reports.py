"""The page that a command has left behind."""

import re
from pathlib import Path


def charts_of(folder: Path) -> set[str]:
    """Which charts the page of a finished run has. Nothing is missing, and nothing could not be shown."""
    page = (folder / "report.html").read_text()
    for said in ("NOT SHOWN", "INCOMPLETE", "DAMAGED"):
        assert f"<li>{said}:" not in page
    return set(re.findall(r'class="chart" id="r0-(\w+)"', page))


def with_svg(*figures: str) -> set[str]:
    """The files of these figures, and the page."""
    return {f"{name}.{ending}" for name in figures for ending in ("png", "svg")} | {"report.html"}
