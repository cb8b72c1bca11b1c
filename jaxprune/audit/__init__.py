"""The pruning audit: whether pruning raised a bound, or what an attack finds, and at how many states."""

from jaxprune.audit.population import Population, of_agent, of_run
from jaxprune.audit.smoothing import SmoothingSpec
from jaxprune.audit.spec import AuditSpec
from jaxprune.audit.story import Audit, run

__all__ = ["Audit", "AuditSpec", "Population", "SmoothingSpec", "of_agent", "of_run", "run"]
