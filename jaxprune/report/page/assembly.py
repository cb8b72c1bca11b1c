"""The page: one file with everything in it, the same for the same tables, byte for byte."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from jaxprune.files import in_one_piece
from jaxprune.report.page.charts import Chart
from jaxprune.report.page.comparison import comparison_chart, comparison_rows
from jaxprune.report.page.run import ATTACK, AUDIT, CERTIFY, SHIFT, SWEEP, Run, read_run
from jaxprune.report.page.story import Story, tell
from jaxprune.report.page.tables import FULL, printed, that_fit

NAME = "report.html"

MOST_BYTES = 7_900_000
"""Of a page, of which Plotly takes 4.8 million."""

MOST_OF_CHARTS = 1_500_000
"""Characters of all charts together."""

MOST_OF_VIDEOS = 1_400_000
"""Characters of all videos together, and as many more as the charts have left: 1 to 2 MB of files."""

_KINDS = {
    SWEEP: "sweep",
    ATTACK: "attack search",
    CERTIFY: "certification",
    SHIFT: "shifted dynamics",
    AUDIT: "audit of one policy",
}


@dataclass(frozen=True)
class Section:
    """What the page shows of one run.

    place: what its links begin with. videos: by name, as `data:` addresses. left_out: what is too large.
    """

    place: str
    run: Run
    kind: str
    story: Story
    charts: list[Chart]
    printed: list[Any]
    videos: dict[str, str]
    full: list[str]
    left_out: list[str]


def write_report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of the runs in these folders; by default into the folder of the only run.

    Raises SpecError if one is no folder of a run, or the page cannot be written.
    """
    path = folders[0] / NAME if out is None else out
    text = document(_told_apart(folders, [read_run(folder) for folder in folders]))
    in_one_piece(path, lambda part: part.write_text(text, encoding="utf-8"))
    return path


def _told_apart(folders: Sequence[Path], runs: list[Run]) -> list[Run]:
    """Runs of equal names with the folder above in theirs."""
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else replace(run, name=f"{folder.resolve().parent.name}/{run.name}")
        for folder, run in zip(folders, runs, strict=True)
    ]


def document(runs: Sequence[Run]) -> str:
    """The page as HTML."""
    told = [tell(run) for run in runs]
    compared = comparison_chart(runs) if len(runs) > 1 else None
    charts = {} if compared is None else {f"all-{compared.name}": _packed(compared)}
    left, sections = MOST_OF_CHARTS - len(json.dumps(charts)), []
    for number, (run, story) in enumerate(zip(runs, told, strict=True)):
        place = f"r{number}"
        drawn = _charts_that_fit(story, left // (len(runs) - number))
        own = {f"{place}-{chart.name}": _packed(chart) for chart in drawn}
        left -= len(json.dumps(own))
        charts |= own
        texts = [printed(table) for table in story.tables]
        left_out = [f'the chart "{chart.title}"' for chart in story.charts if chart not in drawn]
        sections.append(Section(place, run, _KINDS[run.kind], story, drawn, texts, {}, [], left_out))
    sections = _with_videos(sections, MOST_OF_VIDEOS + left)

    shown = {
        "title": f"jaxprune: {', '.join(run.name for run in runs)}",
        "compared": compared,
        "rows": comparison_rows(list(zip(runs, told, strict=True))) if len(runs) > 1 else [],
        "charts": charts,
    }
    # The full tables have what is left beside all others.
    room = MOST_BYTES - len(_rendered(**shown, sections=sections, tables={}).encode())
    sections, tables = _with_tables(sections, room)
    return _rendered(**shown, sections=sections, tables=tables)


def _rendered(**shown: Any) -> str:
    page = _environment().get_template("page.html.jinja")
    scripts = [Markup(get_plotlyjs()), _asset("charts.js"), _asset("tables.js")]
    return page.render(**shown, style=_asset("page.css"), scripts=scripts)


def _charts_that_fit(story: Story, most: int) -> list[Chart]:
    """The charts that together have at most so many characters, the first first."""
    drawn = []
    for chart in story.charts:
        size = len(json.dumps(_packed(chart)))
        if size <= most:
            drawn.append(chart)
            most -= size
    return drawn


def _with_videos(sections: list[Section], room: int) -> list[Section]:
    """The sections with the videos that together have at most so many characters, and the names of others."""
    done = []
    for number, section in enumerate(sections):
        left, videos = room // (len(sections) - number), {}
        for name, video in section.run.videos.items():
            address = f"data:image/avif;base64,{b64encode(video).decode()}"
            if len(address) <= left:
                left -= len(address)
                room -= len(address)
                videos[name] = address
        left_out = [name for name in section.run.videos if name not in videos]
        done.append(replace(section, videos=videos, left_out=[*section.left_out, *left_out]))
    return done


def _with_tables(sections: list[Section], room: int) -> tuple[list[Section], dict[str, Any]]:
    """The sections with the names of their full tables and what is not in them; and these, by their place."""
    tables, done = {}, []
    for number, section in enumerate(sections):
        asked = {name: section.run.tables[name] for name in FULL if section.run.has(name)}
        held = that_fit(asked, max(0, room) // (len(sections) - number))
        room -= len(json.dumps(held))
        tables |= {f"{section.place}-{name}": table for name, table in held.items()}
        left_out = [_left_out(name, table, held.get(name)) for name, table in asked.items()]
        told = [*section.left_out, *filter(None, left_out)]
        done.append(replace(section, full=list(held), left_out=told))
    return done, tables


def _left_out(name: str, table: pl.DataFrame, held: dict[str, Any] | None) -> str:
    """How much of a table is in its file only; nothing where all of it is on the page."""
    if held is None:
        return f"{name}.csv, {table.height:,} rows"
    if held["rows"] < table.height:
        return f"{name}.csv, of which the first {held['rows']:,} of {table.height:,} rows are here"
    return ""


def _packed(chart: Chart) -> dict[str, Any]:
    return {"data": chart.traces, "layout": chart.layout}


@cache
def _environment() -> Environment:
    """Everything that is put into the page is escaped, for names come from users."""
    loader = PackageLoader("jaxprune.report.page", "assets")
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    return made


def _asset(name: str) -> Markup:
    """A file of this package, as it is."""
    return Markup(files("jaxprune.report.page").joinpath("assets", name).read_text("utf-8"))
