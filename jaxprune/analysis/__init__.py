"""Tables of returns and certificates in, tables of answers out. Knows polars and numpy, and no JAX."""

from jaxprune.analysis.certificates import (
    against_dense,
    at_the_same_states,
    audit,
    distance_quantity,
    smallest_bound,
)
from jaxprune.analysis.error_rate import DEFAULT_ERROR, seeds_needed
from jaxprune.analysis.frontier import SWEET, best_average_score, sweet_spots
from jaxprune.analysis.regret import STRONGEST, decompose, strongest
from jaxprune.analysis.statistics import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    Estimate,
    across_seeds,
    interquartile_mean,
)
from jaxprune.analysis.tables import (
    BUDGET,
    CERTIFICATES,
    CLEAN,
    CURVES,
    FAMILY,
    RESULTS,
    STATES,
    family_of,
    validate,
)

__all__ = [
    "BUDGET",
    "CERTIFICATES",
    "CLEAN",
    "CURVES",
    "DEFAULT_BOOTSTRAP",
    "DEFAULT_ERROR",
    "FAMILY",
    "RESULTS",
    "STATES",
    "STRONGEST",
    "SWEET",
    "Bootstrap",
    "Estimate",
    "across_seeds",
    "against_dense",
    "at_the_same_states",
    "audit",
    "best_average_score",
    "decompose",
    "distance_quantity",
    "family_of",
    "interquartile_mean",
    "seeds_needed",
    "smallest_bound",
    "strongest",
    "sweet_spots",
    "validate",
]
