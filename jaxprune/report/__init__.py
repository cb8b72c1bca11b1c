"""From tables to what people read: figures as PNG, and text in the terminal. Knows no JAX."""

from jaxprune.report.attacked_returns import attacked_returns_figure
from jaxprune.report.audit import print_audit
from jaxprune.report.console import LiveProgress, SparsityReturn, open_console, plan
from jaxprune.report.effort import effort_figure, transfer_tables
from jaxprune.report.figures import (
    bounds_figure,
    heading,
    regret_figure,
    returns_figure,
    save,
    training_figure,
)
from jaxprune.report.shifts import print_shifts, shifts_figure
from jaxprune.report.summary import attack_tables, budget_tables, difference_tables, print_summary
from jaxprune.report.verdict import alarms, verdicts

__all__ = [
    "LiveProgress",
    "SparsityReturn",
    "alarms",
    "attack_tables",
    "attacked_returns_figure",
    "bounds_figure",
    "budget_tables",
    "difference_tables",
    "effort_figure",
    "heading",
    "open_console",
    "plan",
    "print_audit",
    "print_shifts",
    "print_summary",
    "regret_figure",
    "returns_figure",
    "save",
    "shifts_figure",
    "training_figure",
    "transfer_tables",
    "verdicts",
]
