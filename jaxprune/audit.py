"""All there is for one policy without training it: pruned at several levels, it is certified and attacked.

population = Population.from_agent("FILE", "hopper", sparsities="0:0.9:0.1")
tables = audit.run(AuditSpec(), population)
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import polars as pl

from jaxprune import attack_search, certification, parse
from jaxprune.attack_search import EFFORTS, AttackSearchSpec
from jaxprune.budget import NORMS, SPACES
from jaxprune.certification import CertificationSpec, ReturnSpec, SmoothingSpec
from jaxprune.certification.return_spec import NO_RETURNS
from jaxprune.certification.units import is_deterministic
from jaxprune.errors import SpecError
from jaxprune.options import known
from jaxprune.population import Population
from jaxprune.progress import OnProgress, Update, unheard

OFF = "off"
"""The search that learns nothing."""

LEARNED = ("sarsa", "sarsa+mad", "sa-rl", "pa-ad")
"""The attacks that any other search learns."""

VISITED_EPISODES, ATTACKED_EPISODES = 3, 5
"""Of every member: clean ones whose states are certified, and those of sampled actions under MAD."""

STAGES, ATTACKERS = "stages", "attackers"
"""In the folder of an audit: what is done of the certification, and of the attack."""


@dataclass(frozen=True)
class AuditSpec:
    """In which ball, and on how many episodes and states.

    The defaults are those with which a small policy takes two cores a few minutes.
    Raises SpecError on construction for a search that is not known, or a number that nothing would use.
    """

    eps: str = "published"
    """Budget, one number. published: the one of the published tables for the task."""
    norm: Annotated[str, known(lambda: NORMS)] = "linf"
    """Norm of the ball."""
    space: Annotated[str, known(lambda: SPACES)] = "normalised"
    """Space in which eps lives: normalised (observations in standard deviations) or raw."""
    episodes: int = 10
    """Fresh episodes of every pruned policy under every attack, and of the clean one: behind the returns and
    their intervals. Half as many others choose the strongest attack."""
    states: int = 50
    """States at which bounds and the largest distance found are compared."""
    return_episodes: int = 60
    """Clean episodes of sampled actions of every pruned policy, half of which choose: behind the certified
    return, which grows with them. 0: no certified return."""
    return_eps: float = 0.001
    """Radius of the ball at every step that the certified return is about: larger ones soon leave nothing."""
    search: Annotated[str, known(lambda: (OFF, *EFFORTS))] = OFF
    """Learn attackers of every pruned policy as well (robust sarsa, SA-RL, PA-AD), as many as the search of
    `attack` does: eight times as many steps (quick), forty times (small) and more. off: only attacks that
    learn nothing."""
    steps: int = 200_000
    """Environment steps of training per adversary, if there is a search."""
    seed: int = 0
    """Decides all random streams."""

    def __post_init__(self) -> None:
        parse.check_known("search", self.search, (OFF, *EFFORTS))
        if self.search == OFF and self.steps != AuditSpec.steps:
            raise SpecError("steps: nothing is learned with search off; leave steps out, or ask for a search")
        if self.return_episodes == 0 and self.return_eps != AuditSpec.return_eps:
            raise SpecError(
                "return_eps: no returns are certified with return_episodes 0; leave return_eps out"
            )

    def of(self, population: Population) -> "Asked":
        """What it comes to for these members. Raises SpecError for whatever cannot be done."""
        asked = Asked(self._certification(population), self._returned(population), self._attack(population))
        asked.certification.applied_to(population)
        asked.returned.check(asked.certification.confidence, population)
        attack_search.check(asked.attack, population)
        return asked

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)

    def _certification(self, population: Population) -> CertificationSpec:
        """Bounds at few states; shifts in units of the action where there are no standard deviations."""
        return CertificationSpec(
            self.eps,
            self.norm,
            self.space,
            bounds="crown",
            units="action" if is_deterministic(population.agents) else "dense",
            states=self.states,
            episodes=VISITED_EPISODES,
            seed=self.seed,
        )

    def _returned(self, population: Population) -> ReturnSpec:
        """Certified returns at one radius; none of a policy that draws nothing."""
        if is_deterministic(population.agents) or not self.return_episodes:
            return NO_RETURNS
        return ReturnSpec(
            return_episodes=self.return_episodes,
            return_eps=(self.return_eps,),
            return_attacked=ATTACKED_EPISODES,
        )

    def _attack(self, population: Population) -> AttackSearchSpec:
        """The attacks that learn nothing, the critic's if there is one; with a search, the others too."""
        critic = ("critic",) if has_value(population) else ()
        return AttackSearchSpec(
            ("random", *critic, "mad", *(() if self.search == OFF else LEARNED)),
            self.eps,
            self.norm,
            self.space,
            episodes=self.episodes,
            selection_episodes=max(1, self.episodes // 2),
            # Where nothing is learned, it does not matter how.
            search=AttackSearchSpec.search if self.search == OFF else self.search,
            steps=self.steps,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Asked:
    """What the parts of an audit are asked for."""

    certification: CertificationSpec
    returned: ReturnSpec
    attack: AttackSearchSpec

    def certification_steps(self, population: Population) -> int:
        """The most environment steps that the certification can take."""
        members, horizon = population.members.size, population.env.horizon
        visited = members * horizon * self.certification.episodes
        return visited + self.returned.total_steps(members, horizon)

    def steps(self, population: Population) -> int:
        """The most environment steps that all of it can take."""
        attack = attack_search.total_steps(self.attack, population.env, population.members.size)
        return self.certification_steps(population) + attack


def run(
    spec: AuditSpec, population: Population, on_progress: OnProgress = unheard, folder: Path | None = None
) -> dict[str, pl.DataFrame]:
    """Certify, then attack: the tables of `Certification` and `AttackSearch`, which share no name.

    What is done is kept in `folder`, and taken from there where the same audit was stopped before its end.

    Raises SpecError for whatever cannot be done, or where the folder holds what is done of something else.
    """
    asked = spec.of(population)
    before = asked.certification_steps(population)

    def told(update: Update) -> None:
        on_progress(update._replace(steps_done=before + update.steps_done))

    stages, attackers = (None if folder is None else folder / name for name in (STAGES, ATTACKERS))
    certified = certification.run(
        asked.certification, SmoothingSpec(), population, on_progress, stages, asked.returned
    )
    attacked = attack_search.run(asked.attack, population, told, attackers)
    tables = {**certified._asdict(), "results": attacked.results, "tried": attacked.tried}
    return {name: table for name, table in tables.items() if table is not None}


def check_resumable(folder: Path, spec: AuditSpec, population: Population) -> None:
    """Raise SpecError, with the name of the field, where the folder holds what is done of something else."""
    asked = spec.of(population)
    certification.check_resumable(
        folder / STAGES, asked.certification, SmoothingSpec(), population, asked.returned
    )


def has_value(population: Population) -> bool:
    """Whether there is a value network: an agent from a file without one has one that says 0 everywhere."""
    return any(np.any(leaf) for leaf in jax.tree.leaves(population.agents.value))
