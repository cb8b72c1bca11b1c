"""What an audit asks for: bounds, ball, states, and how hard an attack searches."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from jaxprune import parse
from jaxprune.bounds import BOUNDS, Bound, activation_named, asked, episodes_for_a_limit, local_names
from jaxprune.budget import NORMS, PUBLISHED, SPACES, one_radius
from jaxprune.certification.units import UNITS, check_certifiable, in_units
from jaxprune.errors import SpecError
from jaxprune.options import known
from jaxprune.population import Population

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
    norm: Annotated[str, known(lambda: NORMS)] = "linf"
    """Norm of the ball."""
    space: Annotated[str, known(lambda: SPACES)] = "normalised"
    """Space in which eps lives: normalised (observations in standard deviations) or raw."""
    bounds: Annotated[str | tuple[str, ...], known(local_names)] = ",".join(
        str(BOUNDS[name]) for name in local_names()
    )
    """Bounds at each state, a comma list of NAME or NAME:EFFORT: alpha-crown:50 takes 50 steps of Adam,
    branching:64 splits the ball into 64 parts. The global ones are always there."""
    units: Annotated[str, known(lambda: UNITS)] = "dense"
    """Standard deviations that the shift of a Gaussian policy is measured in when bounds are compared: dense
    (those of the dense policy of the seed, so that a wider policy does not pass for a more robust one), own,
    or action (units of the action, before tanh if that squashes it; the only ones for a deterministic
    policy)."""
    states: int = 200
    """States of each seed at which bounds and attack are compared."""
    starts: int = 20
    """Random starts of the attack (MAD) at each state."""
    search_steps: int = 30
    """Steps of the attack from each start."""
    policy: Annotated[str, known(lambda: POLICIES)] = "sampled"
    """Whose clean episodes are visited: sampled (the stochastic policy, which F and the value gaps are about)
    or mode (the deterministic one; then there is no F and no value gap)."""
    episodes: int = 10
    """Clean episodes of every member, behind F and the value gaps."""
    confidence: float = 0.95
    """Probability, over the episodes, that the value gaps and the smoothed returns hold."""
    seed: int = 0
    """Decides all random streams."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bounds", _read(self.bounds))
        for field, names in {"norm": NORMS, "space": SPACES, "units": UNITS, "policy": POLICIES}.items():
            parse.check_known(field, getattr(self, field), names)
        for field in ("states", "starts", "search_steps"):
            parse.check_at_least(field, getattr(self, field), 1)
        parse.check_seed(self.seed)
        needed = episodes_for_a_limit(self.confidence)
        if self.episodes < needed:
            raise SpecError(
                f"episodes: {self.episodes} are too few for value gaps of confidence {self.confidence:g}; at "
                f"least {needed} are needed"
            )
        if self.eps != PUBLISHED:
            object.__setattr__(self, "eps", one_radius(self.eps))

    @property
    def local(self) -> dict[str, Bound]:
        """The bounds asked for by name, each with its effort."""
        return {bound.name: bound for bound in map(asked, self.bounds)}

    def applied_to(self, population: Population) -> Population:
        """The population in the ball asked for.

        Raises SpecError where a member cannot be certified: weights that are not finite, an activation
        without a slope bound or that a bound asked for does not hold for, a deterministic policy in its own
        standard deviations.
        """
        population = population.asked(self.eps, self.norm, self.space)
        check_certifiable(population)
        activation = population.agents.activation
        for name, bound in self.local.items():
            if not bound.holds_for(activation_named(activation)):
                raise SpecError(f"bounds: {name!r} does not hold for {activation!r} networks; leave it out")
        in_units(self.units, population)
        return population

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "CertificationSpec":
        """The spec that `to_dict` wrote down, its tuples come back as lists."""
        return cls(**parse.fields_of(cls, values))


def _read(bounds: str | tuple[str, ...]) -> tuple[str, ...]:
    """The bounds as `NAME` or `NAME:EFFORT`, efforts filled in.

    Raises SpecError for what is none, and for one bound with two efforts.
    """
    read: dict[str, Bound] = {}
    for bound in map(asked, parse.names(bounds)):
        if read.setdefault(bound.name, bound) != bound:
            raise SpecError(
                f"bounds: {bound.name!r} is asked for with {read[bound.name].effort} and with {bound.effort} "
                f"{bound.unit}; choose one"
            )
    return tuple(map(str, read.values()))
