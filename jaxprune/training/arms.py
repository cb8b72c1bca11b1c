"""Training arms: plain PPO, or PPO with regularisers, as a user asks for them."""

import math
from typing import NamedTuple

from jaxprune import parse
from jaxprune.errors import SpecError, unknown_name
from jaxprune.training.regularizers import REGULARIZERS, Regularizer
from jaxprune.training.regularizers.schedule import NAMES, SELF_PACED, UNUSED

PLAIN = "ppo"
"""The arm without a regulariser."""


class Chosen(NamedTuple):
    """A regulariser and the schedule of its budget: what shapes the program."""

    regularizer: Regularizer
    schedule: str

    @property
    def name(self) -> str:
        """Of the regulariser."""
        return self.regularizer.name

    @property
    def has_budget(self) -> bool:
        """Whether there is an eps."""
        return "eps" in self.regularizer.leaves


class Arm(NamedTuple):
    """chosen: what is done to PPO. leaves: the numbers of each regulariser, by its name."""

    chosen: tuple[Chosen, ...]
    leaves: dict[str, dict[str, float]]


def read_arm(given: str, published_eps: float | None = None, head: str | None = None) -> Arm:
    """`ppo`, or regularisers joined by "+", each `NAME` or `NAME:number=value:schedule=NAME`.

    published_eps: the budget of one that is given none. head: the action distribution, if it is known.

    >>> read_arm("sa-sgld:kappa=0.3:eps=0.1").leaves["sa-sgld"]["kappa"]
    0.3

    Raises SpecError for an unknown name, a value that is not finite or too small, a ramp longer than the
    training or over before it starts, an arm without the eps that it needs or for another head.
    """
    if given == PLAIN:
        return Arm((), {})
    chosen, leaves = [], {}
    for part in given.split("+"):
        name, *settings = part.split(":")
        if name == PLAIN:
            raise SpecError(f"arms: {PLAIN} is training without a regulariser; leave it out of {given!r}")
        if name not in REGULARIZERS:
            raise unknown_name("arms", name, (PLAIN, *REGULARIZERS))
        if name in leaves:
            raise SpecError(f"arms: {name} is given twice in {given!r}")
        regularizer = REGULARIZERS[name]
        if head is not None and head not in regularizer.heads:
            raise SpecError(
                f"arms: {name} is for {' and '.join(regularizer.heads)} policies, not {head} ones"
            )
        words: dict[str, str] = {}
        for text in settings:
            leaf, _, value = text.partition("=")
            if leaf in words:
                raise SpecError(f"arms: {name}:{leaf} is given twice in {given!r}")
            words[leaf] = value
        schedule = _schedule(regularizer, words)
        leaves[name] = _numbers(regularizer, words, published_eps)
        chosen.append(Chosen(regularizer, schedule))
    _check_together(given, tuple(chosen))
    return Arm(tuple(chosen), leaves)


def _schedule(regularizer: Regularizer, words: dict[str, str]) -> str:
    """The schedule of the budget, taken out of what was asked for."""
    name = regularizer.name
    if "eps" not in regularizer.leaves:
        return regularizer.schedule
    schedule = words.pop("schedule", regularizer.schedule)
    if schedule not in NAMES:
        raise unknown_name(f"arms: {name}: schedule", schedule, NAMES)
    if schedule == SELF_PACED and regularizer.growth is None:
        able = ", ".join(one for one, each in REGULARIZERS.items() if each.growth)
        raise SpecError(
            f"arms: {name}: schedule {SELF_PACED} follows a term that grows as eps^2 does, which it has not; "
            f"those that have: {able}"
        )
    for leaf in UNUSED[schedule]:
        if leaf in words:
            raise SpecError(f"arms: {name}:{leaf} says nothing to the schedule {schedule}; leave it out")
    return schedule


def _numbers(regularizer: Regularizer, words: dict[str, str], published: float | None) -> dict[str, float]:
    """The numbers of one regulariser, those not given being its defaults."""
    name, numbers = regularizer.name, dict(regularizer.leaves)
    for leaf, value in words.items():
        if leaf not in numbers:
            raise unknown_name(f"arms: {name}", leaf, (*numbers, *["schedule"] * ("eps" in numbers)))
        numbers[leaf] = _number(name, leaf, value, regularizer.least.get(leaf, 0.0))
    if math.isnan(numbers.get("eps", 0.0)):
        if published is None:
            raise SpecError(
                f"arms: {name} needs an eps, and none is published for this task; give {name}:eps=0.1"
            )
        numbers["eps"] = published
    start, ramp = numbers.get("start", 0.0), numbers.get("ramp", 0.0)
    if ramp > 1:
        raise SpecError(f"arms: {name}:ramp {ramp:g} is longer than the training, which is 1")
    if start > ramp:
        raise SpecError(f"arms: {name}:start {start:g} comes after its ramp, which ends at {ramp:g}")
    return numbers


def _number(name: str, leaf: str, value: str, least: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= parse.LARGEST:
        raise SpecError(f"arms: {name}:{leaf} {value!r} must be a finite number of at least {least:g}")
    return number


def _check_together(given: str, chosen: tuple[Chosen, ...]) -> None:
    """Raise SpecError where two regularisers would decide the same."""
    deciding = {
        "what the agent is shown": [c.name for c in chosen if c.regularizer.shows or c.regularizer.adversary],
        "the body it trains with": [c.name for c in chosen if c.regularizer.world],
    }
    for what, names in deciding.items():
        if len(names) > 1:
            raise SpecError(f"arms: {' and '.join(names)} in {given!r} both decide {what}")
