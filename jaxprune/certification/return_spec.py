"""What certified returns under attack at every step are asked of: radii, episodes, blocks, spread."""

from dataclasses import dataclass

import numpy as np

from jaxprune import parse
from jaxprune.bounds import largest_budget
from jaxprune.certification.units import is_deterministic
from jaxprune.errors import SpecError
from jaxprune.population import Population

STATEMENTS = 4
"""About each member and radius: the mean, the mean by blocks, the probabilities, the mean by the KL gap."""


@dataclass(frozen=True)
class ReturnSpec:
    """Certified returns under attack at every step: radii, episodes, and how the policy draws its actions.

    Raises SpecError on construction for anything that could certify nothing.
    """

    return_episodes: int = 0
    """Clean episodes of sampled actions per member, behind the certified returns; half of them choose. 0: no
    certified returns."""
    return_eps: str | tuple[float, ...] = "0.0025,0.0075,0.02"
    """Radii of the ball at every step, a comma list, in the norm and space of the budget."""
    return_std: float = 1.0
    """The policy draws with so many times its own standard deviation; wider is easier to certify. Gaussian
    policies only."""
    return_blocks: int = 16
    """Blocks of steps; the rewards of one pay for the shifts up to its end only."""
    return_attacked: int = 10
    """Episodes of every member under MAD at each radius, to be seen beside the limits."""
    return_lowest: float | None = None
    """The limit on the mean is one on E[max(return, lowest)], each block with its share of it. Left out: the
    task's lowest return where its reward is bounded, else 0."""

    def __post_init__(self) -> None:
        radii = parse.numbers("return_eps", self.return_eps)
        parse.check_each_once("return_eps", radii)
        if min(radii) < 0:
            raise SpecError(f"return_eps: got {min(radii):g}, needs radii of at least 0")
        object.__setattr__(self, "return_eps", radii)
        parse.check_at_least("return_episodes", self.return_episodes, 0)
        for field in ("return_blocks", "return_attacked"):
            parse.check_at_least(field, getattr(self, field), 1)
        if not 0 < self.return_std < np.inf:
            raise SpecError(f"return_std: got {self.return_std}, needs a positive factor")

    @property
    def radii(self) -> tuple[float, ...]:
        """The radii asked for."""
        return parse.numbers("return_eps", self.return_eps)

    @property
    def certifying(self) -> int:
        """How many of the episodes are certified; the others choose."""
        return self.return_episodes // 2

    def each(self, confidence: float, members: int) -> float:
        """The confidence of each statement at which all of all members and radii hold together."""
        return 1 - (1 - confidence) / (STATEMENTS * members * len(self.radii))

    def check_enough(self, confidence: float, members: int) -> None:
        """Raise SpecError for so few episodes that nothing can be certified of so many members together."""
        if not self.return_episodes:
            return
        try:
            largest_budget(0.5, self.certifying, sigma=1.0, confidence=self.each(confidence, members))
        except SpecError as error:
            raise SpecError(
                f"return_episodes: {self.return_episodes} are too few, as half of them choose, and of the "
                f"others: {error}"
            ) from None

    def check(self, confidence: float, population: Population) -> None:
        """Raise SpecError where these members, or so few episodes, can have no certified return."""
        if not self.return_episodes:
            return
        self.check_enough(confidence, population.members.size)
        agents = population.agents
        if agents.log_std is None and self.return_std != 1:
            raise SpecError("return_std: a categorical policy has no standard deviation; leave it out")
        if agents.log_std is not None and is_deterministic(agents):
            raise SpecError(
                f"return_episodes: a policy is deterministic (log_std {float(agents.log_std.min()):g}), and "
                "these certificates are about one that draws its actions; take a file of the agent with the "
                "standard deviation it was trained with"
            )

    def total_steps(self, members: int, horizon: int) -> int:
        """The most environment steps that all of these episodes can take."""
        attacked = len(self.radii) * self.return_attacked
        return members * (self.return_episodes + attacked) * horizon if self.return_episodes else 0

    def in_words(self) -> str:
        """The row of a plan."""
        radii = ", ".join(f"{eps:g}" for eps in self.radii)
        return f"eps {radii} at every step, {self.return_episodes} episodes per member, half of them choose"
