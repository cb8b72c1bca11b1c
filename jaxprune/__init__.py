"""What does pruning a policy do to its robustness? Train, prune, attack and certify populations of policies.

>>> import jaxprune as jp
>>> small = {"steps": 2048, "hidden": (8,), "episodes": 2, "selection_episodes": 1}
>>> spec = jp.SweepSpec(env="probe/linear", sparsities="0,0.5", **small)
>>> result = jp.sweep.run(spec)
>>> result.results.height  # 2 members, each without attack and under 2 attacks
6
"""

from jaxprune import attack_search, audit, certification, fusions, shift_evaluation, sweep
from jaxprune.attack_search import AttackSearchSpec
from jaxprune.audit import AuditSpec
from jaxprune.budget import Budget
from jaxprune.certification import CertificationSpec, SmoothingSpec
from jaxprune.errors import SpecError
from jaxprune.population import Population
from jaxprune.shift_evaluation import ShiftEvaluation, ShiftSpec
from jaxprune.spec import SweepSpec
from jaxprune.sweep import Sweep

fusions.warn_if_unsafe()

__all__ = [
    "AttackSearchSpec",
    "AuditSpec",
    "Budget",
    "CertificationSpec",
    "Population",
    "ShiftEvaluation",
    "ShiftSpec",
    "SmoothingSpec",
    "SpecError",
    "Sweep",
    "SweepSpec",
    "attack_search",
    "audit",
    "certification",
    "shift_evaluation",
    "sweep",
]
