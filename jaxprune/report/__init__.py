"""From tables to what people read: figures, text in the terminal, and the page. Knows no JAX."""

from jaxprune.report.attacked_returns import attacked_returns_figure, attacked_returns_words
from jaxprune.report.audit import audit_words
from jaxprune.report.certify_screen import certify_screen_words
from jaxprune.report.console import LiveProgress, SparsityReturn, open_console, plan
from jaxprune.report.effort import effort_figure, search_alarms
from jaxprune.report.figures import (
    bounds_figure,
    heading,
    regret_figure,
    returns_figure,
    save,
    training_figure,
)
from jaxprune.report.one_policy import attack_words, policy_words
from jaxprune.report.shifts import shift_screen_words, shift_words, shifts_figure
from jaxprune.report.summary import screen_words, sweep_words
from jaxprune.report.verdict import alarms, findings
from jaxprune.report.words import Words, joined

__all__ = [
    "LiveProgress",
    "SparsityReturn",
    "Words",
    "alarms",
    "attack_words",
    "attacked_returns_figure",
    "attacked_returns_words",
    "audit_words",
    "bounds_figure",
    "certify_screen_words",
    "effort_figure",
    "findings",
    "heading",
    "joined",
    "open_console",
    "plan",
    "policy_words",
    "regret_figure",
    "returns_figure",
    "save",
    "screen_words",
    "search_alarms",
    "shift_screen_words",
    "shift_words",
    "shifts_figure",
    "sweep_words",
    "training_figure",
]
