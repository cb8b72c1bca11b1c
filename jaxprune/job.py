"""What a sweep comes to: its members, the programs that train them, and how many steps all of it takes."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from jaxprune import chunks
from jaxprune.certification import ReturnSpec
from jaxprune.certification.tables import CONFIDENCE
from jaxprune.envs import Environment
from jaxprune.population import Members, environment, members
from jaxprune.pruning import schedule, score
from jaxprune.shift_evaluation import ShiftSpec, total_steps
from jaxprune.spec import SweepSpec
from jaxprune.training import experience
from jaxprune.training.arms import Chosen, read_arm
from jaxprune.training.member import Recipe
from jaxprune.training.ppo import Hyperparameters

STEPS_WORTH_A_PROGRAM = 500_000
"""Environment steps that take longer than compiling the training of one member per seed does."""


class Job(NamedTuple):
    """A spec, and what it comes to: worked out once and handed on.

    everyone: all members. trained: those that are trained; where pruning comes after training, one dense one
    per seed and arm. groups: the trained members whose arms have one program, and that program's recipe.
    begin, end: the iterations that are theirs. trunk: the job of those that stand for all of their seed and
    arm in the iterations before `begin`, if there are any. chunk: how many members go side by side at most;
    None for all of them. It changes no result.
    """

    spec: SweepSpec
    env: Environment
    everyone: Members
    trained: Members
    groups: tuple["Group", ...]
    begin: int
    end: int
    trunk: "Job | None" = None
    chunk: int | None = None

    def in_chunks(self, chunk: int | None) -> "Job":
        """The same with so many members side by side. Raises SpecError for less than two."""
        chunks.check(chunk)
        trunk = None if self.trunk is None else self.trunk._replace(chunk=chunk)
        return self._replace(chunk=chunk, trunk=trunk)

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of all trained members in one iteration."""
        return self.trained.size * self.spec.environments * self.spec.unroll

    @property
    def training_steps(self) -> int:
        """Environment steps of the whole training."""
        before = 0 if self.trunk is None else self.trunk.training_steps
        return before + (self.end - self.begin) * self.steps_per_iteration

    @property
    def evaluation_steps(self) -> int:
        """The most environment steps that the evaluation can take, the visits not counted."""
        spec = self.spec
        budgets = 1 + len(spec.attacks) * len(spec.budgets)
        return self.everyone.size * budgets * (spec.episodes + spec.selection_episodes) * self.env.horizon

    @property
    def visit_steps(self) -> int:
        """The most environment steps that the episodes for the certificates can take."""
        return self.everyone.size * self.spec.certify_episodes * self.env.horizon

    @property
    def shifts(self) -> ShiftSpec | None:
        """The shifted dynamics to evaluate under, if any."""
        return ShiftSpec(episodes=self.spec.shift_episodes) if self.spec.shift_episodes else None

    @property
    def shift_steps(self) -> int:
        """The most environment steps that the episodes under shifted dynamics can take."""
        return 0 if self.shifts is None else total_steps(self.shifts, self.env, self.everyone.size)

    @property
    def returned(self) -> ReturnSpec:
        """The certified returns under attack at every step."""
        return returned(self.spec)

    @property
    def return_steps(self) -> int:
        """The most environment steps that the episodes behind them can take."""
        return self.returned.total_steps(self.everyone.size, self.env.horizon)

    @property
    def steps(self) -> int:
        """The most environment steps of all."""
        played = self.evaluation_steps + self.visit_steps + self.shift_steps + self.return_steps
        return self.training_steps + played


class Group(NamedTuple):
    """Members that are trained side by side. rows: their numbers among the trained ones."""

    recipe: Recipe
    rows: np.ndarray


def job(spec: SweepSpec) -> Job:
    """What a spec comes to. Raises SpecError if it cannot run here."""
    everyone, env = members(spec), environment(spec)
    if spec.shift_episodes:
        env.check_shiftable()
    returned(spec).check_enough(CONFIDENCE, everyone.size)
    returned(spec).check_spread(discrete=env.action_space.discrete)
    trained = everyone
    if not schedule(spec.schedule).during_training:
        trained = members(replace(spec, sparsities=(0.0,)))
    whole = Job(spec, env, everyone, trained, groups(spec, env, trained), 0, spec.iterations)
    trunk = _trunk(whole)
    return whole if trunk is None else whole._replace(trunk=trunk, begin=trunk.end)


def returned(spec: SweepSpec) -> ReturnSpec:
    """What a spec asks of certified returns."""
    return ReturnSpec(
        return_episodes=spec.return_episodes, return_eps=spec.return_eps, return_std=spec.return_std
    )


def _trunk(whole: Job) -> Job | None:
    """The job of the iterations in which nothing is pruned yet; None where it would save little."""
    spec, who = whole.spec, whole.trained
    kept = np.sort(np.concatenate([_stand_ins(group, who) for group in whole.groups]))
    # One iteration less than there might be: no rounding of the share of training done is relied upon.
    end = max(0, int(schedule(spec.schedule).dense_until * spec.iterations) - 1)
    if (who.size - kept.size) * spec.environments * spec.unroll * end < STEPS_WORTH_A_PROGRAM:
        return None
    trained = who.of(kept)
    return Job(spec, whole.env, trained, trained, groups(spec, whole.env, trained), 0, end)


def _stand_ins(group: Group, who: Members) -> np.ndarray:
    """The rows of the first members of every seed and arm of a group.

    They are two at least, for a batch of one is another program, which rounds otherwise.
    """
    first = list(first_of_each(who.of(group.rows)).values())
    return group.rows[first if len(first) > 1 else slice(2)]


def first_of_each(who: Members) -> dict[tuple[int, str], int]:
    """The row of the first member of every seed and arm."""
    rows: dict[tuple[int, str], int] = {}
    for row, place in enumerate(seed_and_arm(who)):
        rows.setdefault(place, row)
    return rows


def seed_and_arm(who: Members) -> list[tuple[int, str]]:
    """Of every member."""
    return list(zip(who.seed.tolist(), who.arm.tolist(), strict=True))


def groups(spec: SweepSpec, env: Environment, trained: Members) -> tuple[Group, ...]:
    """The trained members by the program that their arm needs, in the order of the arms.

    Raises SpecError for an arm that is not for this environment.
    """
    head = "categorical" if env.action_space.discrete else "gaussian"
    needed: dict[tuple[Chosen, ...], list[int]] = {}
    for row, arm in enumerate(trained.arm.tolist()):
        chosen, leaves = read_arm(arm, env.published_eps, head)
        experience.world(env, chosen, Hyperparameters(regularizers=leaves))  # refuses what it cannot change
        needed.setdefault(chosen, []).append(row)
    return tuple(Group(recipe(spec, chosen), np.array(rows)) for chosen, rows in needed.items())


def recipe(spec: SweepSpec, chosen: tuple[Chosen, ...] = ()) -> Recipe:
    """The part of a spec that shapes the training program of an arm."""
    return Recipe(
        environments=spec.environments,
        unroll=spec.unroll,
        epochs=spec.epochs,
        minibatches=spec.minibatches,
        hidden=spec.hidden,
        activation=spec.activation,
        chosen=chosen,
        schedule=schedule(spec.schedule),
        score=score(spec.ranking),
        scope=spec.scope,
        networks=spec.networks,
    )
