"""The page: one file with everything in it, the same for the same tables, byte for byte."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from jaxprune.files import in_one_piece
from jaxprune.report.page.charts import Chart
from jaxprune.report.page.comparison import comparison_chart, comparison_rows
from jaxprune.report.page.run import ATTACK, AUDIT, CERTIFY, SHIFT, SWEEP, Run, read_run
from jaxprune.report.page.story import Story, tell
from jaxprune.report.page.tables import FULL, MOST_CHARACTERS, MOST_OF_VIDEOS, columns, printed

NAME = "report.html"

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

    place: what its links begin with. videos: by name, as `data:` addresses. left_out: files too large for it.
    """

    place: str
    run: Run
    kind: str
    story: Story
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
    charts = {f"r{n}-{chart.name}": _packed(chart) for n, story in enumerate(told) for chart in story.charts}
    if compared is not None:
        charts[f"all-{compared.name}"] = _packed(compared)
    left = MOST_CHARACTERS - len(json.dumps(charts))
    sections, tables = [], {}
    for number, (run, story) in enumerate(zip(runs, told, strict=True)):
        place = f"r{number}"
        videos, too_long = _videos_that_fit(run, min(MOST_OF_VIDEOS, left) // (len(runs) - number))
        left -= sum(map(len, videos.values()))
        held, too_large = _that_fit(run, left // (len(runs) - number))
        left -= sum(len(json.dumps(table)) for table in held.values())
        tables |= {f"{place}-{name}": table for name, table in held.items()}
        texts = [printed(table) for table in story.tables]
        left_out = [*too_long, *(f"{name}.csv" for name in too_large)]
        sections.append(Section(place, run, _KINDS[run.kind], story, texts, videos, list(held), left_out))
    page = _environment().get_template("page.html.jinja")
    return page.render(
        title=f"jaxprune: {', '.join(run.name for run in runs)}",
        sections=sections,
        compared=compared,
        rows=comparison_rows(list(zip(runs, told, strict=True))) if len(runs) > 1 else [],
        charts=charts,
        tables=tables,
        style=_asset("page.css"),
        scripts=[Markup(get_plotlyjs()), _asset("charts.js"), _asset("tables.js")],
    )


def _that_fit(run: Run, most: int) -> tuple[dict[str, Any], list[str]]:
    """The full tables of a run that together have at most so many characters, and the names of the others."""
    held, left_out = {}, []
    for name in filter(run.has, FULL):
        packed = columns(run.tables[name])
        size = len(json.dumps(packed))
        if size > most:
            left_out.append(name)
        else:
            most -= size
            held[name] = packed
    return held, left_out


def _videos_that_fit(run: Run, most: int) -> tuple[dict[str, str], list[str]]:
    """The videos of a run that together have at most so many characters, and the names of the others."""
    held, left_out = {}, []
    for name, video in run.videos.items():
        address = f"data:image/avif;base64,{b64encode(video).decode()}"
        if len(address) > most:
            left_out.append(name)
        else:
            most -= len(address)
            held[name] = address
    return held, left_out


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
