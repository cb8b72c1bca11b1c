"""What does pruning a policy do to its robustness? Train, prune, attack and certify populations of policies.

>>> import jaxprune as jp
>>> result = jp.sweep(jp.SweepSpec(env="probe/linear", steps=20_000))
>>> result.results
"""

from jaxprune import fusions
from jaxprune.errors import SpecError
from jaxprune.spec import SweepSpec
from jaxprune.sweep import Sweep, resume, sweep

fusions.warn_if_unsafe()

__all__ = ["SpecError", "Sweep", "SweepSpec", "resume", "sweep"]
