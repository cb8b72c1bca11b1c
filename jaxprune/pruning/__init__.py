"""Pruning: scores say which weights go, schedules when, masks hold the result."""

from jaxprune.pruning.masks import SCOPES
from jaxprune.pruning.schedules import SCHEDULES, Schedule, schedule
from jaxprune.pruning.scores import SCORES, Score, score

__all__ = ["SCHEDULES", "SCOPES", "SCORES", "Schedule", "Score", "schedule", "score"]
