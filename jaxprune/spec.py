"""What a sweep is: a frozen dataclass, its fields the command line, its construction the check."""

from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Annotated, Any

import numpy as np

from jaxprune import attacks, envs, parse
from jaxprune.analysis import needed_pairs
from jaxprune.budget import NORMS, PUBLISHED, SPACES, Budget, several_budgets
from jaxprune.errors import SpecError, unknown_name
from jaxprune.options import known
from jaxprune.policy import ACTIVATIONS
from jaxprune.pruning import SCHEDULES, SCOPES, SCORES, schedule, score
from jaxprune.pruning.schedules import ROUNDS
from jaxprune.training.arms import PLAIN, read_arm
from jaxprune.training.member import ACTOR, NETWORKS
from jaxprune.training.regularizers import REGULARIZERS
from jaxprune.training.settings import PPOSettings

DEFAULT_ERROR = 0.05

CRITIC_SCORES = ("magnitude", "random")

HEADS = ("auto", "gaussian", "categorical")

_COUNTS = (
    "steps",
    "episodes",
    "selection_episodes",
    "environments",
    "unroll",
    "epochs",
    "minibatches",
)


@dataclass(frozen=True)
class SweepSpec(PPOSettings):
    """A population of policies (seeds x sparsities), how it is trained, pruned, attacked and certified.

    Raises SpecError on construction for anything that could not run.
    """

    env: Annotated[str, known(lambda: envs.tasks())] = "hopper"
    """Task. ant-contact is the ant with the contact forces that the published ants read. gymnasium:ID is one
    that Gymnasium has registered, with its XML and numbers, if its reward is one of these."""
    physics: str = "auto"
    """What moves the task: native (MuJoCo C), mjx, mjx-warp (MJX by NVIDIA's Warp), or for brax/NAME a Brax
    backend. auto: native on a CPU, mjx on an accelerator."""
    charge: str = "clipped"
    """Action that the reward's effort is charged for: clipped (to the task's range, as in the published
    tables) or raw (as Gymnasium does)."""
    sparsities: str | tuple[float, ...] = "0:0.9:0.1"
    """Share of the policy's weights that is zero, per member: start:stop:step (stop included) or a
    comma list."""
    seeds: int | str = 1
    """Number of seeds, or which ones (5:10 without the 10, or a comma list of such), for runs that
    `experiments.merge` puts together; every seed is trained at every sparsity."""
    steps: int = 600_000
    """Environment steps of training per member."""
    schedule: Annotated[str, known(lambda: SCHEDULES)] = "gradual"
    """When weights are removed."""
    score: Annotated[str, known(lambda: ("auto", *SCORES))] = "auto"
    """Which weights go first. auto: random where there is a mask from the start, else magnitude. hydra is
    learned for one sparsity, so with posthoc, oneshot and lottery only."""
    scope: Annotated[str, known(lambda: SCOPES)] = "layer"
    """Where the sparsity holds."""
    networks: Annotated[str, known(lambda: NETWORKS)] = "actor"
    """Which networks are pruned: actor, critic (the value network) or both, each to the sparsity asked for; a
    critic by its own weights' size or at random."""
    arms: Annotated[str | tuple[str, ...], known(lambda: (PLAIN, *REGULARIZERS))] = "ppo"
    """How policies are trained, a comma list: ppo, or the name of a regulariser, with its numbers where they
    are not the defaults (NAME:number=value:schedule=linear); several in one arm are joined by "+"."""
    shared_filter: bool = False
    """Let all members of a seed see through the observation filter of its dense member, so that a budget in
    standard deviations is the same in raw units for all of them."""
    attacks: Annotated[str | tuple[str, ...], known(lambda: attacks.ready())] = "random,mad"
    """Attacks to evaluate under, a comma list; the clean return is always measured."""
    eps: str | tuple[float, ...] = "published"
    """Budgets of the attacks, a comma list. published: the one of the published tables, else 0.1."""
    norm: Annotated[str, known(lambda: NORMS)] = "linf"
    """Norm of the attacks' ball."""
    space: Annotated[str, known(lambda: SPACES)] = "normalised"
    """Space in which eps lives: normalised (observations in standard deviations) or raw."""
    episodes: int = 20
    """Evaluation episodes per member, attack and budget, behind the returns reported."""
    selection_episodes: int = 10
    """Further episodes, on which the strongest attack and the best policy are chosen."""
    certify_episodes: int = 5
    """Clean episodes of the stochastic policy whose visited states are certified."""
    shift_episodes: int = 0
    """Clean episodes per member at each of the 95 shifted dynamics of `experiments.shift`, a second axis of
    robustness with tables and verdicts of its own. 0: none."""
    return_episodes: int = 0
    """Clean episodes of sampled actions per member, behind certified returns under attack at every step
    (docs/certified_return.md); half of them choose. 0: none."""
    return_eps: str | tuple[float, ...] = "0.0025,0.0075,0.02"
    """Radii of the ball of the certified returns, a comma list, in the norm and space of the budgets."""
    return_std: str | tuple[float, ...] = "1"
    """They are about policies that draw with so many times their own standard deviation, a comma list, out of
    which one is chosen for each member and radius. Wider is easier to certify. Gaussian policies only."""
    verdict_error: float | None = None
    """Largest probability of any wrong verdict on sweet spots. Left out: 0.05, and undecided where there are
    too few seeds; given: refused where there are too few."""
    head: str = "auto"
    """Action distribution: gaussian for continuous tasks, categorical for discrete ones."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the policy and of the value network."""
    activation: Annotated[str, known(lambda: ACTIVATIONS)] = "tanh"
    """Activation of both networks."""
    environments: int = 16
    """Parallel environments per member."""
    unroll: int = 128
    """Steps each environment takes in one iteration."""
    epochs: int = 10
    """Passes over the data of one iteration."""
    minibatches: int = 8
    """Parts the data of one iteration is split into, each one gradient step."""

    def __post_init__(self) -> None:
        for field, parsed in {
            "sparsities": check_sparsities(self.sparsities),
            "eps": self.eps if self.eps == PUBLISHED else parse.numbers("eps", self.eps),
            "attacks": parse.names(self.attacks),
            "arms": parse.names(self.arms),
            "hidden": tuple(self.hidden),
            "return_eps": parse.numbers("return_eps", self.return_eps),
            "return_std": parse.numbers("return_std", self.return_std),
        }.items():
            object.__setattr__(self, field, parsed)
        parse.seeds("seeds", self.seeds)
        self._check_names()
        self._check_counts()
        self._check_comparisons()
        self.check_settings()

    def _check_names(self) -> None:
        for field, names in {
            "schedule": SCHEDULES,
            "score": ("auto", *SCORES),
            "scope": SCOPES,
            "networks": NETWORKS,
            "activation": ACTIVATIONS,
            "head": HEADS,
        }.items():
            parse.check_known(field, getattr(self, field), names)
        envs.named(self.env, "env")
        parse.check_known("physics", self.physics, ("auto", *envs.physics_names(self.env)))
        envs.check_charge(self.env, self.charge)
        parse.check_each_once("arms", parse.names(self.arms))
        for arm in parse.names(self.arms):
            read_arm(arm, envs.published_eps(self.env), None if self.head == "auto" else self.head)
        parse.check_each_once("eps", tuple(budget.eps for budget in self.budgets))
        parse.check_each_once("attacks", parse.names(self.attacks))
        for name in self.attacks:
            attacks.make(name)
        if "none" in self.attacks:
            raise SpecError("attacks: 'none' is always measured; leave it out")
        self._check_pruning()

    def _check_pruning(self) -> None:
        """Raise SpecError where schedule, score and scope contradict each other."""
        when, which = schedule(self.schedule), score(self.ranking)
        if self.networks != ACTOR and which.name not in CRITIC_SCORES:
            raise SpecError(
                f"score: {self.score!r} is about a policy, and networks is {self.networks!r}; use "
                f"{' or '.join(CRITIC_SCORES)}"
            )
        if self.networks != ACTOR and not when.plain:
            raise SpecError(
                f"schedule: {self.schedule!r} prunes policies only, and networks is {self.networks!r}; use "
                f"{', '.join(each.name for each in SCHEDULES.values() if each.plain)}"
            )
        if when.from_the_start and (which.learned or which.remembers):
            raise SpecError(
                f"score: schedule {self.schedule!r} has its mask before the training, by which "
                f"{self.score!r} goes; use {', '.join(_before_training())}"
            )
        if when.grows is not None and self.scope == "unit":
            raise SpecError(
                f"scope: schedule {self.schedule!r} exchanges single weights, got 'unit'; use layer, neuron, "
                "global or erk"
            )
        if which.learned and not when.in_steps:
            raise SpecError(
                f"score: {self.score!r} is learned for one sparsity, and schedule {self.schedule!r} asks for "
                f"another one all the time; use {', '.join(s.name for s in SCHEDULES.values() if s.in_steps)}"
            )
        if which.signed and self.scope == "unit":
            raise SpecError(
                f"scope: score {self.score!r} can be negative, and 'unit' goes by its size; use layer, "
                "neuron, global or erk"
            )

    def _check_counts(self) -> None:
        for field in _COUNTS:
            parse.check_at_least(field, getattr(self, field), 1)
        if self.certify_episodes < 2:
            raise SpecError(
                f"certify_episodes: {self.certify_episodes} must be at least 2, for a confidence limit"
            )
        parse.check_at_least("shift_episodes", self.shift_episodes, 0)
        if not self.hidden or min(self.hidden) < 1:
            raise SpecError(f"hidden: {self.hidden} must be one or more widths of at least 1")
        batch = self.environments * self.unroll
        if batch % self.minibatches:
            raise SpecError(
                f"minibatches: {self.minibatches} must divide environments x unroll = {batch} evenly"
            )
        if self.steps < batch:
            raise SpecError(
                f"steps: {self.steps} is less than one PPO iteration, "
                f"environments x unroll = {self.environments} x {self.unroll} = {batch}"
            )
        if schedule(self.schedule).rewinds and self.iterations < ROUNDS:
            raise SpecError(
                f"steps: {self.steps} are {self.iterations} PPO iterations; schedule {self.schedule!r} has "
                f"{ROUNDS} rounds of at least one, {ROUNDS * batch} steps"
            )

    def _check_comparisons(self) -> None:
        """What the members must be for the comparisons asked for."""
        if self.shared_filter and 0 not in check_sparsities(self.sparsities):
            raise SpecError(
                "shared_filter: sparsities must hold 0, for it is the dense member's filter that is shared"
            )
        if self.verdict_error is None:
            return
        if not 0 < self.verdict_error < 1:
            raise SpecError(f"verdict_error: {self.verdict_error} must lie between 0 and 1, such as 0.05")
        needed, seeds = needed_pairs(self.verdict_error, self.families), len(self.seed_numbers)
        if seeds < needed:
            shared = "" if self.families == 1 else f", which {self.families} arms share"
            raise SpecError(
                f"seeds: {seeds} can give no verdict at an error of {self.verdict_error:g}{shared}; at least "
                f"{needed} are needed"
            )

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds that `seeds` stands for."""
        return parse.seeds("seeds", self.seeds)

    @property
    def error(self) -> float:
        """The error rate that `verdict_error` stands for."""
        return DEFAULT_ERROR if self.verdict_error is None else self.verdict_error

    @property
    def families(self) -> int:
        """How many families of members, one of each arm, share the error of the verdicts."""
        return len(parse.names(self.arms))

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets that `eps`, `norm` and `space` stand for."""
        return several_budgets(self.eps, self.norm, self.space, envs.published_eps(self.env))

    @property
    def ranking(self) -> str:
        """The score that `score` stands for."""
        if self.score != "auto":
            return self.score
        return "random" if schedule(self.schedule).from_the_start else "magnitude"

    @property
    def where(self) -> str:
        """What the sparsity is the share of, for tables: the scope, and networks other than the actor."""
        return self.scope if self.networks == ACTOR else f"{self.scope}, {self.networks}"

    @property
    def iterations(self) -> int:
        """PPO iterations: steps rounded down to whole ones."""
        return self.steps // (self.environments * self.unroll)

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SweepSpec":
        """The spec `to_dict` came from. Raises SpecError for a field that is not one."""
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise unknown_name("spec", name, known)
        return cls(**parse.fields_of(cls, values))


def check_sparsity(field: str, sparsity: float) -> None:
    """Raise SpecError for a share that leaves a policy no weights, or is none."""
    if not 0 <= sparsity < 1:
        raise SpecError(f"{field}: {sparsity:g} is outside [0, 1); a policy needs weights left")


def check_sparsities(given: str | tuple[float, ...]) -> tuple[float, ...]:
    """Sparsities as a user gives them. Raises SpecError for what is none, or is given twice."""
    sparsities = parse.numbers("sparsities", given)
    parse.check_each_once("sparsities", sparsities)
    for sparsity in sparsities:
        check_sparsity("sparsities", sparsity)
    for one, other in combinations(sparsities, 2):
        if np.float32(one) == np.float32(other):
            raise SpecError(f"sparsities: {one} and {other} are the same in float32; leave one out")
    return sparsities


def _before_training() -> list[str]:
    """The scores that weights have before any training."""
    return [each.name for each in SCORES.values() if not (each.learned or each.remembers)]
