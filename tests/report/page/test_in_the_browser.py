"""The page in Chromium: it opens without complaints, its controls change it, and it fits a phone."""

import json
from itertools import pairwise

import numpy as np
import pytest

from jaxprune.report.page import write_report
from jaxprune.report.video import Tile, frame, save
from tests.report import chromium
from tests.report.page import folders

pytestmark = pytest.mark.skipif(
    chromium.PROGRAM is None, reason="there is no chromium here (Debian: apt-get install chromium)"
)

TRACES = "document.querySelector('#{chart} .plot').data"
CHOOSE = """(() => {{ const s = document.querySelector('{where}'); s.value = '{value}';
s.dispatchEvent(new Event('{event}')); }})()"""
CELLS = "[...document.querySelectorAll('#r0-full tbody tr')].map((r) => r.cells[{column}].textContent)"


@pytest.fixture(name="page", scope="module")
def _page(synthetic, tmp_path_factory):
    """A report of two arms at two budgets, open in a wide window."""
    folder = tmp_path_factory.mktemp("browser")
    run = folders.sweep(folder / "two arms", synthetic, seeds=2, arms=("ppo", "sa<b>"))
    tile = Tile(np.full((32, 64, 3), 128, np.uint8), "clean", "return 1")
    save([frame(("one",), ((tile,),))] * 2, run / "watch.avif", [40, 40])
    with chromium.browser(folder / "profile") as page:
        page.open(write_report([run]))
        yield page


def test_a_video_is_shown_and_only_where_it_is_opened(page):
    image = "document.querySelector('#r0-watch img')"
    assert page.do(f"[{image}.complete, {image}.naturalWidth]") == [True, 64]
    assert not page.do(f"{image}.checkVisibility()")
    page.do("document.querySelector('#r0-watch details').open = true")
    assert page.do(f"{image}.checkVisibility()")


def choose(page, where, value, event="change"):
    page.do(CHOOSE.format(where=where, value=value, event=event))


def names(page, chart):
    """The traces that a chart shows, as the browser was given them."""
    return page.do(f"{TRACES.format(chart=chart)}.map((t) => t.name ?? '')")


def test_it_opens_without_complaints_and_asks_for_nothing(page):
    drawn = page.do("[...document.querySelectorAll('.plot')].map((p) => p.querySelectorAll('svg').length)")
    assert len(drawn) == 6
    assert min(drawn) > 0
    assert page.complaints == []
    assert {request.partition(":")[0] for request in page.requests} <= {"file", "data", "blob"}
    assert len([request for request in page.requests if request.startswith("file:")]) == 1


def test_attack_eps_and_arm_change_the_chart(page):
    every = names(page, "r0-returns")
    assert "ppo: mad" in every and "sa&lt;b&gt;: pa-ad" in every
    choose(page, "#r0-returns [data-tag=arm]", "ppo")
    choose(page, "#r0-returns [data-tag=attack]", "mad")
    assert names(page, "r0-returns") == ["ppo: clean", "ppo: clean", "ppo: mad", "ppo: mad"]
    heights = f"{TRACES.format(chart='r0-returns')}[2].y"
    small = page.do(heights)
    second = page.do("document.querySelector('#r0-returns [data-tag=budget]').options[1].value")
    choose(page, "#r0-returns [data-tag=budget]", second)
    assert page.do(heights)[0] < small[0]  # a larger ball takes more
    choose(page, "#r0-bounds [data-tag=shown]", "every bound")
    assert names(page, "r0-bounds") == ["frobenius", "interval", "path", "spectral", "found by an attack"]


def test_the_table_sorts_filters_and_downloads(page):
    page.do("document.querySelectorAll('#r0-full thead button')[15].click()")  # return_mean
    rising = [float(cell) for cell in page.do(CELLS.format(column=15))]
    assert rising == sorted(rising)
    assert len(rising) == 100
    page.do("document.querySelectorAll('#r0-full thead button')[15].click()")
    falling = [float(cell) for cell in page.do(CELLS.format(column=15))]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > rising[0]
    sorts = page.do("[...document.querySelectorAll('#r0-full thead th')].map((h) => h.ariaSort)")
    assert sorts[15] == "descending" and sorts.count("none") == len(sorts) - 1
    choose(page, "#r0-full [data-role=filter]", "PA-AD 0.075 sa<b>", "input")
    assert set(page.do(CELLS.format(column=3))) == {"sa<b>"}
    assert page.do("document.querySelector('#r0-full [data-role=count]').textContent") == "16 of 288 rows"
    saved = page.do(
        """new Promise((done) => { const make = URL.createObjectURL;
        URL.createObjectURL = (blob) => { blob.text().then(done); return make(blob); };
        document.querySelector('#r0-full [data-role=download]').click(); })"""
    )
    lines = saved.splitlines()
    assert lines[0].startswith("member,task,physics,arm,")
    assert len(lines) == 17


def test_charts_are_saved_as_png_and_svg(page):
    for kind, begins in (("png", "data:image/png"), ("svg", "data:image/svg+xml")):
        made = page.do(
            f"Plotly.toImage(document.querySelector('#r0-regret .plot'), {{format: '{kind}'}})"
            ".then((made) => made.slice(0, 20))"
        )
        assert made.startswith(begins)
    assert page.complaints == []


def test_dark_is_dark_and_paper_is_white(page, tmp_path):
    def ink():
        return page.do(f"{TRACES.format(chart='r0-regret')}.at(-1).marker.color")

    assert ink() == "#1b1b1b"
    page.do("document.getElementById('theme').click()")
    assert ink() == "#f2f2f2"
    assert page.do("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    page.do("addEventListener('beforeprint', () => { window.onPaper = root.dataset.theme; })")
    assert page.printed(tmp_path / "page.pdf").stat().st_size > 10_000
    assert page.do("window.onPaper") == "light"
    assert ink() == "#f2f2f2"
    page.do("document.getElementById('theme').click()")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page, width, tmp_path):
    page.resize(width, 900)
    page.do("new Promise((done) => setTimeout(done, 300))")
    assert page.do("document.documentElement.scrollWidth") == width
    drawn = "[...document.querySelectorAll('.plot .main-svg')]"
    assert max(page.do(f"{drawn}.map((svg) => svg.getBoundingClientRect().right)")) <= width
    assert page.picture(tmp_path / "page.png").stat().st_size > 10_000


def test_every_control_and_chart_has_a_name(page):
    unnamed = page.do(
        """[...document.querySelectorAll('select, input, button, [role=img], [role=region]')].filter((e) =>
        !(e.getAttribute('aria-label') || (e.labels && e.labels.length) || e.textContent.trim())).length"""
    )
    assert unnamed == 0
    levels = page.do("[...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.do("[...document.querySelectorAll('table')].every((t) => t.caption)")
    assert json.dumps(page.complaints) == "[]"
