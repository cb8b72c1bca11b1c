"""The charts of the page, one file for each question. Tables in, traces of Plotly out."""

from jaxprune.report.page.charts.bounds import bounds_chart
from jaxprune.report.page.charts.certified import certified_chart
from jaxprune.report.page.charts.chart import Chart, Choice
from jaxprune.report.page.charts.effort import effort_chart, tried_chart
from jaxprune.report.page.charts.layers import layers_chart
from jaxprune.report.page.charts.regret import regret_chart
from jaxprune.report.page.charts.returns import frontier_chart, returns_chart
from jaxprune.report.page.charts.shifts import shifts_chart
from jaxprune.report.page.charts.training import training_chart

__all__ = [
    "Chart",
    "Choice",
    "bounds_chart",
    "certified_chart",
    "effort_chart",
    "frontier_chart",
    "layers_chart",
    "regret_chart",
    "returns_chart",
    "shifts_chart",
    "training_chart",
    "tried_chart",
]
