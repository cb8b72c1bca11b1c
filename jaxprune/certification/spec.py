"""What an audit asks for: bounds, ball, states, and how hard an attack searches."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from jaxprune import parse
from jaxprune.bounds import alpha_crown_bound, branching_bound, episodes_for_a_limit
from jaxprune.budget import NORMS, PUBLISHED, SPACES, one_radius
from jaxprune.certification.policy import LOCAL_BOUNDS, Bounds
from jaxprune.certification.units import UNITS, check_certifiable, in_units
from jaxprune.errors import SpecError
from jaxprune.population import Population

BOUNDS: Bounds = LOCAL_BOUNDS | {"alpha-crown": alpha_crown_bound, "branching": branching_bound}
"""All bounds at one state, by name."""

POLICIES = ("sampled", "mode")
"""How the actions of the clean episodes are taken from the policy."""


@dataclass(frozen=True)
class CertificationSpec:
    """Which bounds, in which ball, at how many states, and how hard an attack searches there.

    Raises SpecError on construction for anything that could not run.
    """

    eps: str | float = "published"
    """Budget. published: the one of the published tables for the task; for a sweep's run, its largest budget
    in its own norm and space."""
    norm: str = "linf"
    """Norm of the ball: linf or l2."""
    space: str = "normalised"
    """Space in which eps lives: normalised (observations in standard deviations) or raw."""
    bounds: str | tuple[str, ...] = "interval,jacobian,crown,alpha-crown,branching"
    """Bounds at each state, a comma list; the global ones are always there."""
    units: str = "dense"
    """Standard deviations that the shift of a Gaussian policy is measured in when bounds are compared: dense
    (those of the dense policy of the seed, so that a wider policy does not pass for a more robust one), own,
    or action (units of the action; the only ones for a deterministic policy)."""
    states: int = 200
    """States of each seed at which bounds and attack are compared."""
    starts: int = 20
    """Random starts of the attack (MAD) at each state."""
    search_steps: int = 30
    """Steps of the attack from each start."""
    alpha_steps: int = 20
    """Steps of Adam in alpha-crown."""
    nodes: int = 32
    """Parts that branching splits the ball into."""
    policy: str = "sampled"
    """Whose clean episodes are visited: sampled (the stochastic policy, which F and the value gaps are about)
    or mode (the deterministic one; then there is no F and no value gap)."""
    episodes: int = 10
    """Clean episodes of every member, behind F and the value gaps."""
    confidence: float = 0.95
    """Probability, over the episodes, that the value gaps and the smoothed returns hold."""
    seed: int = 0
    """Decides all random streams."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", tuple(dict.fromkeys(parse.names(self.bounds))))
        for name in self.bounds:
            parse.check_known("bounds", name, BOUNDS)
        for field, known in {"norm": NORMS, "space": SPACES, "units": UNITS, "policy": POLICIES}.items():
            parse.check_known(field, getattr(self, field), known)
        for field in ("states", "starts", "search_steps", "alpha_steps", "nodes"):
            parse.check_at_least(field, getattr(self, field), 1)
        needed = episodes_for_a_limit(self.confidence)
        if self.episodes < needed:
            raise SpecError(
                f"episodes: {self.episodes} are too few for value gaps of confidence {self.confidence:g}; at "
                f"least {needed} are needed"
            )
        if self.eps != PUBLISHED:
            object.__setattr__(self, "eps", one_radius(self.eps))

    @property
    def local(self) -> Bounds:
        """The bounds asked for, with their budgets of steps and nodes."""
        settled = {
            "alpha-crown": partial(alpha_crown_bound, steps=self.alpha_steps),
            "branching": partial(branching_bound, nodes=self.nodes),
        }
        return {name: settled.get(name, BOUNDS[name]) for name in self.bounds}

    def applied_to(self, population: Population) -> Population:
        """The population in the ball asked for.

        Raises SpecError where a member cannot be certified: weights that are not finite, an activation
        without a slope bound, a deterministic policy in its own standard deviations.
        """
        population = population.asked(self.eps, self.norm, self.space)
        check_certifiable(population)
        in_units(self.units, population)
        return population

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)
