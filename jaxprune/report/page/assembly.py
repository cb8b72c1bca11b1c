"""The page: one file with everything in it, the same for the same tables, byte for byte."""

import json
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
from jaxprune.report.page.run import ATTACK, CERTIFY, SHIFT, SWEEP, Run, read_run
from jaxprune.report.page.story import Story, tell
from jaxprune.report.page.tables import FULL, MOST_CHARACTERS, columns, printed

NAME = "report.html"

_KINDS = {SWEEP: "sweep", ATTACK: "attack search", CERTIFY: "certification", SHIFT: "shifted dynamics"}


@dataclass(frozen=True)
class Section:
    """What the page shows of one run. place: what its links begin with. left_out: tables too large for it."""

    place: str
    run: Run
    kind: str
    story: Story
    printed: list[Any]
    full: list[str]
    left_out: list[str]


def write_report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of the runs in these folders; by default into the folder of the only run.

    Raises SpecError if one is no folder of a run, or the page cannot be written.
    """
    path = folders[0] / NAME if out is None else out
    text = document(_told_apart(folders, [read_run(folder) for folder in folders]))
    in_one_piece(path, lambda part: part.write_text(text))
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
    sections, tables = [], {}
    left = MOST_CHARACTERS
    for number, run in enumerate(runs):
        place = f"r{number}"
        share, kept, left_out = left // (len(runs) - number), [], []
        for name in (name for name in FULL if run.has(name)):
            packed = columns(run.tables[name])
            size = len(json.dumps(packed))
            if size > share:
                left_out.append(name)
                continue
            share, left = share - size, left - size
            tables[f"{place}-{name}"] = packed
            kept.append(name)
        story = tell(run)
        texts = [printed(table) for table in story.tables]
        sections.append(Section(place, run, _KINDS[run.kind], story, texts, kept, left_out))
    compared = comparison_chart(runs) if len(runs) > 1 else None
    charts = {f"{s.place}-{chart.name}": _packed(chart) for s in sections for chart in s.story.charts}
    if compared is not None:
        charts[f"all-{compared.name}"] = _packed(compared)
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            title=f"jaxprune: {', '.join(run.name for run in runs)}",
            sections=sections,
            compared=compared,
            rows=comparison_rows([(s.run, s.story) for s in sections]) if len(runs) > 1 else [],
            charts=charts,
            tables=tables,
            style=_asset("page.css"),
            scripts=[Markup(get_plotlyjs()), _asset("charts.js"), _asset("tables.js")],
        )
    )


def _packed(chart: Chart) -> dict[str, Any]:
    return {"data": chart.traces, "layout": chart.layout, "tags": [choice.tag for choice in chart.choices]}


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
    return Markup(files("jaxprune.report.page").joinpath("assets", name).read_text())
