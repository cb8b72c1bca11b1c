"""What certified returns under attack at every step are asked of: radii, episodes, blocks, spread."""

from dataclasses import dataclass
from math import isfinite

from jaxprune import parse
from jaxprune.bounds import episodes_needed
from jaxprune.certification.units import is_deterministic
from jaxprune.errors import SpecError
from jaxprune.population import Population

OWN = 1.0
"""The scale at which a policy has its own standard deviation."""

STATEMENTS = 4
"""About each member and radius: the mean, the mean by blocks, the probabilities, the mean by the KL gap."""

SEQUENCES = 2
"""About each member: the largest radius, by the mean and by the mean by blocks."""


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
    return_std: str | tuple[float, ...] = "1"
    """The policy draws with so many times its own standard deviation, a comma list; of several, the half of
    the episodes that chooses picks one for each member and radius. Wider is easier to certify and returns
    less: 1 is always played as well. Gaussian policies only."""
    return_blocks: int = 16
    """Blocks of steps; the rewards of one pay for the shifts up to its end only. At most one for each 50
    steps of the horizon, or part of them."""
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
        scales = parse.numbers("return_std", self.return_std)
        parse.check_each_once("return_std", scales)
        if min(scales) <= 0:
            raise SpecError(f"return_std: got {min(scales):g}, needs positive factors")
        object.__setattr__(self, "return_std", scales)
        parse.check_at_least("return_episodes", self.return_episodes, 0)
        for field in ("return_blocks", "return_attacked"):
            parse.check_at_least(field, getattr(self, field), 1)
        if self.return_lowest is not None and not isfinite(self.return_lowest):
            raise SpecError(f"return_lowest: got {self.return_lowest:g}, needs a finite number")

    @property
    def radii(self) -> tuple[float, ...]:
        """The radii asked for."""
        return parse.numbers("return_eps", self.return_eps)

    @property
    def scales(self) -> tuple[float, ...]:
        """Of the standard deviation, those that may be chosen."""
        return parse.numbers("return_std", self.return_std)

    @property
    def played(self) -> tuple[float, ...]:
        """The scales at which episodes are played: the policy as it is trained is always among them."""
        return tuple(dict.fromkeys((OWN, *self.scales)))

    @property
    def certifying(self) -> int:
        """How many of the episodes are certified; the others choose."""
        return self.return_episodes // 2

    def each(self, confidence: float, members: int) -> float:
        """The confidence of each statement at which all of all members and radii hold together."""
        return 1 - (1 - confidence) / (STATEMENTS * members * len(self.radii))

    def each_sequence(self, confidence: float, members: int) -> float:
        """The confidence of each limit in the search for the largest radius; all members' hold together.

        Radii are no further chances to be wrong (`bounds.largest_radius`).
        """
        return 1 - (1 - confidence) / (SEQUENCES * members)

    def check_enough(self, confidence: float, members: int) -> None:
        """Raise SpecError for so few episodes that nothing can be certified of so many members together."""
        if not self.return_episodes:
            self.check_used()
            return
        needed = 2 * episodes_needed(0.5, budget=0.0, sigma=1.0, confidence=self.each(confidence, members))
        if self.return_episodes < needed:
            raise SpecError(
                f"return_episodes: {self.return_episodes} are too few at confidence {confidence:g} for all "
                f"members and radii together, as half of them choose; at least {needed} are needed"
            )

    def check_used(self) -> None:
        """Raise SpecError for numbers of certified returns that nobody asked for."""
        parse.check_unused(self, NO_RETURNS, "no returns are certified with return_episodes 0")

    def check_spread(self, *, discrete: bool) -> None:
        """Raise SpecError for other spreads of policies that have none."""
        if discrete and self.scales != (OWN,):
            raise SpecError("return_std: a categorical policy has no standard deviation; leave it out")

    def check(self, confidence: float, population: Population, policy: str = "sampled") -> None:
        """Raise SpecError where these members, or so few episodes, can have no certified return.

        policy: whose episodes were asked for, `sampled` or `mode`.
        """
        if not self.return_episodes:
            self.check_used()
            return
        if policy != "sampled":
            # A shift of any size makes the two distributions of an action disjoint.
            raise SpecError(
                f"return_episodes: policy is {policy}, and a deterministic action has no noise to hide a "
                "shift in, so that nothing can be certified of its return; ask for policy sampled, or for "
                "return_episodes 0"
            )
        self.check_enough(confidence, population.members.size)
        agents = population.agents
        self.check_spread(discrete=agents.log_std is None)
        if agents.log_std is not None and is_deterministic(agents):
            raise SpecError(
                f"return_episodes: a policy is deterministic (log_std {float(agents.log_std.min()):g}), and "
                "these certificates are about one that draws its actions; take a file of the agent with the "
                "standard deviation it was trained with"
            )

    def total_steps(self, members: int, horizon: int) -> int:
        """The most environment steps that all of these episodes can take."""
        attacked = len(self.radii) * self.return_attacked
        played = len(self.played) * (self.return_episodes + attacked)
        return members * played * horizon if self.return_episodes else 0

    def in_words(self) -> str:
        """The row of a plan."""
        radii = ", ".join(f"{eps:g}" for eps in self.radii)
        drawn = ", ".join(f"{scale:g}" for scale in self.scales)
        at = "" if self.scales == (OWN,) else f", drawn with {drawn} times their std"
        return (
            f"eps {radii} at every step, {self.return_episodes} episodes per member{at}, half of them choose"
        )


NO_RETURNS = ReturnSpec()
"""No certified returns."""
