"""The attack search: attackers looked for, the strongest measured anew, and all of them counted."""

from jaxprune.attack_search.effort import EFFORTS, Effort
from jaxprune.attack_search.procedure import AttackSearch, check, check_resumable, found, run, total_steps
from jaxprune.attack_search.siblings import pairs
from jaxprune.attack_search.spec import AttackSearchSpec
from jaxprune.attack_search.tables import of_a_run

__all__ = [
    "EFFORTS",
    "AttackSearch",
    "AttackSearchSpec",
    "Effort",
    "check",
    "check_resumable",
    "found",
    "of_a_run",
    "pairs",
    "run",
    "total_steps",
]
