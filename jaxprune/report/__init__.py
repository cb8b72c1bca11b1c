"""From tables to what people read: figures, text in the terminal, and the page. Knows no JAX."""

from jaxprune.report.attacked_returns import attacked_returns_figure, attacked_returns_words
from jaxprune.report.audit import audit_words
from jaxprune.report.console import LiveProgress, SparsityReturn, open_console, plan
from jaxprune.report.effort import effort_figure, strongest_table, transfer_tables
from jaxprune.report.figures import (
    bounds_figure,
    heading,
    regret_figure,
    returns_figure,
    save,
    training_figure,
)
from jaxprune.report.one_policy import policy_words
from jaxprune.report.shifts import shift_words, shifts_figure
from jaxprune.report.summary import screen_words, sweep_words
from jaxprune.report.verdict import alarms, findings

__all__ = [
    "LiveProgress",
    "SparsityReturn",
    "alarms",
    "attacked_returns_figure",
    "attacked_returns_words",
    "audit_words",
    "bounds_figure",
    "effort_figure",
    "findings",
    "heading",
    "open_console",
    "plan",
    "policy_words",
    "regret_figure",
    "returns_figure",
    "save",
    "screen_words",
    "shift_words",
    "shifts_figure",
    "strongest_table",
    "sweep_words",
    "training_figure",
    "transfer_tables",
]
