"""What a battery asks for: which attacks, in which ball, and how hard attackers are searched for."""

from dataclasses import asdict, dataclass
from typing import Any

import jax.numpy as jnp

from jaxprune import attacks
from jaxprune.attacks import NORMS, SPACES, Ball
from jaxprune.envs import Environment
from jaxprune.errors import SpecError, unknown_name
from jaxprune.spec import PUBLISHED_EPS
from jaxprune.training import sarsa, search
from jaxprune.training.adversary import ADVERSARIES, RECIPE
from jaxprune.training.learner import Recipe

CRITICAL = ("sarsa", "sarsa+mad")
"""The attacks that need critics of the victim."""

KNOWN = (*attacks.ATTACKS, *CRITICAL, *ADVERSARIES)
"""All attacks that can be asked for: rules, critics, adversaries."""

MAD_WEIGHTS = (0.25, 0.5, 0.75)
"""Weights of MAD that "sarsa+mad" tries with every critic."""


@dataclass(frozen=True)
class BatterySpec:
    """Which attacks, in which ball, and how hard the attackers are searched for.

    Raises SpecError on construction for anything that could not run.
    """

    attacks: str | tuple[str, ...] = "random,critic,mad,sarsa,sarsa+mad,optimal,director"
    """Attacks, a comma list; the clean return is always measured. Learned are sarsa and sarsa+mad (critics),
    optimal (SA-RL) and director (PA-AD)."""
    eps: str | tuple[float, ...] = "published"
    """Budget: one number, or for linf a comma list with one per feature. published: the one of the published
    tables for the task; for a sweep's run, its largest budget in its own norm and space."""
    norm: str = "linf"
    """Norm of the ball: linf or l2."""
    space: str = "normalised"
    """Space in which eps lives: normalised (observations in standard deviations) or raw."""
    episodes: int = 50
    """Fresh episodes on which the strongest attacker of each kind is measured."""
    selection_episodes: int = 10
    """Episodes on which it is selected."""
    search: str = "small"
    """Attackers tried: quick (2 adversaries, 2 critics), small (12 and 4) or published (216 and 30)."""
    steps: int = 500_000
    """Environment steps of training per adversary; published: 1,000,000."""
    seed: int = 0
    """Decides all random streams."""
    at_once: int = 72
    """Attackers trained or measured side by side in one program; fewer need less memory."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", _names(self.attacks))
        object.__setattr__(self, "eps", self.eps if self.eps == "published" else _radii(self.eps))
        for field, known in (("norm", NORMS), ("space", SPACES), ("search", search.GRIDS)):
            if getattr(self, field) not in known:
                raise unknown_name(field, getattr(self, field), known)
        for field, least in (
            ("episodes", 1),
            ("selection_episodes", 1),
            ("at_once", 1),
            ("steps", self.recipe.steps),
        ):
            if getattr(self, field) < least:
                raise SpecError(f"{field}: {getattr(self, field)} must be at least {least}")

    def radii(self, env: Environment) -> tuple[float, ...]:
        """The budget in `env`: one number, or one per feature. Raises SpecError where none is published."""
        if self.eps == "published" and env.task not in PUBLISHED_EPS:
            raise SpecError(f"eps: no budget is published for {env.task}; give a number")
        return (PUBLISHED_EPS[env.task],) if self.eps == "published" else self.eps

    def ball(self, env: Environment) -> Ball:
        """The ball for the observations of `env`. Raises SpecError where the budget does not fit them."""
        radii = self.radii(env)
        eps = radii[0] if len(radii) == 1 else radii
        attacks.check_budget(eps, env.observation_size, self.norm)
        return Ball(jnp.asarray(eps, jnp.float32), self.norm)

    @property
    def recipe(self) -> Recipe:
        """How an adversary is trained."""
        return RECIPE

    @property
    def iterations(self) -> int:
        """PPO iterations of an adversary: steps rounded down to whole ones."""
        return self.steps // self.recipe.steps

    def attackers(self, name: str) -> int:
        """How many attackers of a kind are tried on each victim."""
        critics = len(sarsa.GRIDS[self.search].eps)
        adversaries = len(search.GRIDS[self.search].learning_rate)
        counts = {"sarsa": critics, "sarsa+mad": critics * len(MAD_WEIGHTS)}
        return counts.get(name, adversaries if name in ADVERSARIES else 1)

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BatterySpec":
        """The spec that `to_dict` wrote down, its tuples come back as lists."""
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """The attacks asked for, each known and once; the clean return is measured anyway."""
    names = tuple(name.strip() for name in given.split(",")) if isinstance(given, str) else given
    if not any(name and name != "none" for name in names):
        raise SpecError(f"attacks: the list is empty; name at least one of {', '.join(KNOWN)}")
    for name in names:
        if name not in KNOWN:
            raise unknown_name("attack", name, KNOWN)
    return tuple(name for name in dict.fromkeys(names) if name != "none")


def _radii(given: str | tuple[float, ...]) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in (given.split(",") if isinstance(given, str) else given))
    except ValueError:
        raise SpecError(f"eps: cannot read {given!r}; give a number, or one per feature (0.1,0.2)") from None
