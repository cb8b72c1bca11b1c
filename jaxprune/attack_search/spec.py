"""What an attack search asks for: which attacks, in which ball, and how hard attackers are searched for."""

from dataclasses import asdict, dataclass
from math import prod
from typing import Annotated, Any

import numpy as np

from jaxprune import chunks, parse
from jaxprune.attack_search.effort import EFFORTS, Effort
from jaxprune.attacks import ATTACKS, CRITICS, NOTHING, TRAINING, check_names, current_name, ready
from jaxprune.budget import NORMS, PUBLISHED, SPACES, read_radii
from jaxprune.envs import Environment
from jaxprune.errors import SpecError
from jaxprune.evaluation import POLICIES
from jaxprune.options import known
from jaxprune.training.halving import rung_ends, rung_sizes


@dataclass(frozen=True)
class AttackSearchSpec:
    """Which attacks, in which ball, and how hard the attackers are searched for.

    Raises SpecError on construction for anything that could not run.
    """

    attacks: Annotated[str | tuple[str, ...], known(lambda: ATTACKS)] = (
        "random,critic,mad,sarsa,sarsa+mad,sa-rl,pa-ad"
    )
    """Attacks, a comma list; the clean return is always measured."""
    eps: str | tuple[float, ...] = "published"
    """Budget: one number, or for linf a comma list with one per feature. published: the one of the published
    tables for the task; for a sweep's run, its largest budget in its own norm and space."""
    norm: Annotated[str, known(lambda: NORMS)] = "linf"
    """Norm of the ball."""
    space: Annotated[str, known(lambda: SPACES)] = "normalised"
    """Space in which eps lives: normalised (observations in standard deviations) or raw."""
    episodes: int = 50
    """Fresh episodes on which the strongest attacker of each kind is measured."""
    selection_episodes: int = 10
    """Episodes on which it is selected."""
    policy: Annotated[str, known(lambda: POLICIES)] = "mode"
    """How the victims act, and against which adversaries are trained: mode (the most likely action, what the
    published tables are about) or sampled (what certified returns are about)."""
    search: Annotated[str, known(lambda: EFFORTS)] = "small"
    """How many attackers are tried: 2 adversaries and 2 critics (quick), 12 and 4 (small), 216 and 30
    (published)."""
    steps: int = 500_000
    """Environment steps of training per adversary; published: 1,000,000."""
    seed: int = 0
    """Decides all random streams."""
    chunk: int = 72
    """How many attackers are trained or measured side by side at most; fewer need less memory. On one
    device and with the commands' XLA_FLAGS it changes no result; else the last bits of those trained."""
    rungs: int = 1
    """Successive halving of sa-rl and pa-ad: each rung is twice as long as all before it, and at its end the
    weaker half of each victim's adversaries stops; only the last rung has the full steps (5: a fifth of the
    training, 3: half of it). Where the first ends before 8 iterations, its order says little of the end. The
    strongest of every rung, as it was there, is selected among too. 1: all are trained to the end."""
    rung_episodes: int = 4
    """Episodes that tell which half is weaker; they are never reported, nor selected on again."""
    warm_starts: bool = False
    """One more adversary for every victim, which goes through the last rung only: a pruned member's starts
    from the strongest found for its dense twin, the dense one's from that of its least pruned sibling."""
    transfer: bool = False
    """Measure every learned attacker that was chosen on all members of its seed too (table `transfer`)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", _names(self.attacks))
        object.__setattr__(self, "eps", self.eps if self.eps == PUBLISHED else read_radii(self.eps))
        for field, names in {"norm": NORMS, "space": SPACES, "policy": POLICIES, "search": EFFORTS}.items():
            parse.check_known(field, getattr(self, field), names)
        for field in ("episodes", "selection_episodes"):
            parse.check_at_least(field, getattr(self, field), 1)
        chunks.check(self.chunk)
        parse.check_seed(self.seed)
        parse.check_at_least("steps", self.steps, self.effort.recipe.steps)
        self._check_rungs()
        trained, learned = (self.trained, "is an adversary that is trained"), (self.learned, "is learned")
        for field, asked, (fitting, what) in (
            ("rungs", self.rungs > 1, trained),
            ("warm_starts", self.warm_starts, trained),
            ("transfer", self.transfer, learned),
        ):
            if asked and not fitting:
                raise SpecError(
                    f"{field}: has nothing to act on, none of {', '.join(self.attacks)} {what}; add "
                    f"{' or '.join(ready(TRAINING))}"
                )

    def _check_rungs(self) -> None:
        parse.check_at_least("rungs", self.rungs, 1)
        parse.check_at_least("rung_episodes", self.rung_episodes, 2)  # half of them choose for the curve
        if self.rungs == 1 and self.rung_episodes != AttackSearchSpec.rung_episodes:
            raise SpecError("rung_episodes: there are no rungs; leave it out, or ask for --rungs 2 or more")
        most = self.iterations.bit_length()
        if self.rungs > most:
            raise SpecError(
                f"rungs: {self.rungs} is too many, the first would be shorter than one iteration of "
                f"{self.effort.recipe.steps} steps; at most {most}, or at least "
                f"--steps {2 ** (self.rungs - 1) * self.effort.recipe.steps}"
            )

    @property
    def effort(self) -> Effort:
        """How hard attackers are looked for."""
        return EFFORTS[self.search]

    @property
    def iterations(self) -> int:
        """PPO iterations of an adversary: steps rounded down to whole ones."""
        return self.steps // self.effort.recipe.steps

    @property
    def steps_per_adversary(self) -> int:
        """Environment steps of them."""
        return self.iterations * self.effort.recipe.steps

    @property
    def trained(self) -> tuple[str, ...]:
        """Those of the attacks that PPO trains."""
        return tuple(name for name in self.attacks if ATTACKS[name].needs == TRAINING)

    @property
    def learned(self) -> tuple[str, ...]:
        """Those of the attacks that learn anything of their victim."""
        return tuple(name for name in self.attacks if ATTACKS[name].needs != NOTHING)

    @property
    def settings(self) -> int:
        """How many settings of an adversary start."""
        return np.size(self.effort.adversaries.learning_rate)

    @property
    def rung_sizes(self) -> tuple[int, ...]:
        """How many adversaries of an attack each rung trains on each victim."""
        return rung_sizes(self.settings, self.rungs)

    @property
    def rung_steps(self) -> tuple[int, ...]:
        """Environment steps that an adversary has behind it at the end of each rung."""
        return tuple(end * self.effort.recipe.steps for end in rung_ends(self.iterations, self.rungs))

    @property
    def warm_steps(self) -> int:
        """Those of an adversary that starts from another victim's: of the last rung."""
        return self.rung_steps[-1] - (0, *self.rung_steps)[-2]

    @property
    def training_steps(self) -> int:
        """Environment steps of training all adversaries of one attack on one victim."""
        lengths = np.diff((0, *self.rung_steps))
        return int(np.dot(lengths, self.rung_sizes)) + self.warm_starts * self.warm_steps

    def critic_steps(self, env: Environment) -> int:
        """Environment steps that the critics of one victim see, if an attack asked for has critics."""
        if not any(ATTACKS[name].needs == CRITICS for name in self.attacks):
            return 0
        return prod(self.effort.study.whole_episodes(env.horizon))

    def attackers(self, name: str) -> int:
        """How many attackers of an attack start on each victim; those that rungs stop count as well."""
        attack = ATTACKS[name]
        critics = np.size(self.effort.critics.eps) * max(1, len(attack.settings))
        adversaries = self.settings + self.warm_starts
        return {NOTHING: 1, CRITICS: critics, TRAINING: adversaries}[attack.needs]

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "AttackSearchSpec":
        """The spec that `to_dict` wrote down, its tuples come back as lists."""
        fields = parse.fields_of(cls, values)
        if "at_once" in fields:  # what it was called before
            fields["chunk"] = max(2, fields.pop("at_once"))
        return cls(**fields)


def _names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """The attacks asked for, each known and once; the clean return is measured anyway."""
    names = tuple(current_name(name) for name in parse.names(given))
    if not any(name and name != "none" for name in names):
        others = ", ".join(name for name in ATTACKS if name != "none")
        raise SpecError(f"attacks: the list is empty; name at least one of {others}")
    check_names(names)
    return tuple(name for name in dict.fromkeys(names) if name != "none")
