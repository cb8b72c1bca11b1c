"""Tables of returns and certificates in, tables of answers out. Knows polars and numpy, and no JAX."""

from jaxprune.analysis.certificates import (
    against_dense,
    at_the_same_states,
    audit,
    distance_quantity,
    smallest_bound,
)
from jaxprune.analysis.diverged import without_diverged
from jaxprune.analysis.effort import strongest_by_steps
from jaxprune.analysis.frontier import NOT_SHOWN, SWEET, WORSE, best_average_score, sweet_spots
from jaxprune.analysis.power import SPREADS, Spread, detectable_difference
from jaxprune.analysis.regret import STRONGEST, best_members, decompose, strongest
from jaxprune.analysis.shifts import JOINT, NOMINAL, shift_verdicts, summarise_shifts
from jaxprune.analysis.signflip import FLIPS, adjusted_p, needed_pairs, sign_flips
from jaxprune.analysis.statistics import (
    DEFAULT_INTERVAL,
    Estimate,
    Student,
    across_seeds,
    interquartile_mean,
)
from jaxprune.analysis.tables import (
    BUDGET,
    CERTIFICATES,
    CLEAN,
    CURVES,
    EFFORT,
    FAMILY,
    LAYERS,
    RESULTS,
    RUNGS,
    SHIFT_SUMMARY,
    SHIFTS,
    STATES,
    TRANSFER,
    family_of,
    validate,
)

__all__ = [
    "BUDGET",
    "CERTIFICATES",
    "CLEAN",
    "CURVES",
    "DEFAULT_INTERVAL",
    "EFFORT",
    "FAMILY",
    "FLIPS",
    "JOINT",
    "LAYERS",
    "NOMINAL",
    "NOT_SHOWN",
    "RESULTS",
    "RUNGS",
    "SHIFTS",
    "SHIFT_SUMMARY",
    "SPREADS",
    "STATES",
    "STRONGEST",
    "SWEET",
    "TRANSFER",
    "WORSE",
    "Estimate",
    "Spread",
    "Student",
    "across_seeds",
    "adjusted_p",
    "against_dense",
    "at_the_same_states",
    "audit",
    "best_average_score",
    "best_members",
    "decompose",
    "detectable_difference",
    "distance_quantity",
    "family_of",
    "interquartile_mean",
    "needed_pairs",
    "shift_verdicts",
    "sign_flips",
    "smallest_bound",
    "strongest",
    "strongest_by_steps",
    "summarise_shifts",
    "sweet_spots",
    "validate",
    "without_diverged",
]
