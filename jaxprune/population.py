"""A population: agents, who they are, where they act, and the budget they are attacked and certified with.

`Population.load` takes the members of a run, `Population.from_agent` one agent from a file, as it is or
pruned at several levels. All arrays of the agents have a leading axis [member].
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxprune import checkpoint, envs
from jaxprune.budget import PUBLISHED, Budget, one_budget
from jaxprune.envs import Environment
from jaxprune.errors import SpecError
from jaxprune.policy import Agent, kernels
from jaxprune.policy import agent as agents
from jaxprune.policy.files import PolicyFile, fit, read_policy
from jaxprune.pruning import masks, schedule, scores
from jaxprune.run_folder import RunFolder
from jaxprune.spec import DEFAULT_ERROR, SweepSpec, check_sparsities
from jaxprune.training.member import ACTOR


@dataclass(frozen=True)
class Members:
    """Who the members are, every array [member]: seed, sparsity asked for, training arm."""

    seed: np.ndarray
    sparsity: np.ndarray
    arm: np.ndarray

    def dense_twin(self) -> np.ndarray:
        """For every member, that of its seed and arm with sparsity 0; without one, the member itself."""
        same = list(zip(self.arm.tolist(), self.seed.tolist(), strict=True))
        dense = {who: i for i, who in enumerate(same) if self.sparsity[i] == 0}
        return np.array([dense.get(who, i) for i, who in enumerate(same)])

    def has_dense_twin(self) -> np.ndarray:
        """Whether there is a member of sparsity 0 of the same seed and arm."""
        return self.sparsity[self.dense_twin()] == 0

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.seed)

    def of(self, rows: np.ndarray) -> "Members":
        """Some of them, by number or by whether they count."""
        return Members(self.seed[rows], self.sparsity[rows], self.arm[rows])

    def columns(self) -> list[dict[str, Any]]:
        """For each, the columns of tables that say who it is."""
        return [
            {"member": i, "seed": seed, "sparsity_asked": sparsity, "arm": arm}
            for i, (seed, sparsity, arm) in enumerate(
                zip(self.seed.tolist(), self.sparsity.tolist(), self.arm.tolist(), strict=True)
            )
        ]


class Saved(NamedTuple):
    """What a run folder keeps of its population: the agents with their masks, and who diverged."""

    agents: Agent
    diverged: Bool[Array, " member"]


@dataclass(frozen=True)
class Population:
    """Agents that are looked at together.

    members: who they are.
    env: where they act.
    agents: leaves [member], each with its mask.
    diverged: [member], whose training left the finite numbers.
    budget: what they are attacked and certified with.
    trained_by: the spec of the sweep they come from; None for an agent from a file.
    """

    members: Members
    env: Environment
    agents: Agent
    diverged: Bool[np.ndarray, " member"]
    budget: Budget
    trained_by: SweepSpec | None = None

    @property
    def error(self) -> float:
        """The error rate of verdicts about the members: that of the sweep they come from, if any."""
        return DEFAULT_ERROR if self.trained_by is None else self.trained_by.error

    @classmethod
    def load(cls, run: Path | str) -> "Population":
        """The members of a finished sweep in their own environment, under its largest budget.

        Raises SpecError if there is no such run, it is not finished, or this program cannot go by it.
        """
        folder = RunFolder.open(Path(run))
        spec = folder.spec()
        env, everyone = environment(spec), members(spec)
        like = jax.eval_shape(partial(_like, spec, env, everyone.size))
        kept = (_load_format_2 if folder.format == 2 else checkpoint.load)(folder.population, like)
        largest = max(spec.budgets, key=lambda budget: budget.largest)
        return cls(everyone, env, kept.agents, np.asarray(kept.diverged), largest, spec)

    @classmethod
    def from_agent(
        cls,
        file: Path | str,
        env: str | Environment,
        *,
        physics: str = "auto",
        sparsities: str | tuple[float, ...] = (0.0,),
        budget: Budget | None = None,
        member: int | None = None,
        normalizer: Path | str | None = None,
        activation: str | None = None,
    ) -> "Population":
        """One agent from a file, pruned by magnitude within each layer and not trained again.

        An agent that squashes its actions acts in `envs.squashed(env)`.

        Args:
            file: of any family in `policy.files.READERS`, or the folder of a run.
            env: its task, or environment.
            physics: what moves the task.
            sparsities: start:stop:step, a comma list or numbers.
            budget: left out, the published one of the task.
            member: of the run, if `file` is its folder.
            normalizer: a VecNormalize of Stable-Baselines3, if the agent has its filter there.
            activation: what stands between the layers, if the file does not say.

        Raises:
            SpecError: the file holds no agent of this task, a sparsity is outside [0, 1), or no budget is
                given and none is published.
        """
        world = envs.make(env, physics) if isinstance(env, str) else env
        policy = policy_of(file, member=member, normalizer=normalizer, activation=activation)
        return cls.of_pruned(*fit(policy, world), sparsities, budget)

    def policy(self, member: int) -> PolicyFile:
        """One of the members, as a file has it. Raises SpecError where there is none of that number."""
        if not 0 <= member < self.members.size:
            raise SpecError(f"member: {member} is not one of 0 to {self.members.size - 1}")
        agent = jax.tree.map(lambda leaf: leaf[member], self.agents)
        space = self.env.action_space
        return PolicyFile(agent, squash=(space.low, space.high) if self.env.squashes else None)

    @classmethod
    def of_pruned(
        cls,
        agent: Agent,
        env: Environment,
        sparsities: str | tuple[float, ...] = (0.0,),
        budget: Budget | None = None,
    ) -> "Population":
        """One agent at several sparsities, as `from_agent`. What it has lost already is lost first."""
        levels = check_sparsities(sparsities)
        if budget is None:
            budget = one_budget(PUBLISHED, "linf", "normalised", env.task, env.published_eps)
        budget.check_fits(env.observation_size)
        count = len(levels)
        everyone = Members(np.zeros(count, int), np.array(levels), np.array(["from a file"] * count))
        pruned = jax.vmap(partial(prune, agent.pruned()))(jnp.asarray(levels, jnp.float32))
        return cls(everyone, env, pruned, np.zeros(count, bool), budget)

    @property
    def discount(self) -> float:
        """Of the returns that F and the value gaps are about."""
        return SweepSpec.discount if self.trained_by is None else self.trained_by.discount

    @property
    def pruned_post_hoc(self) -> bool:
        """Whether the members of a seed are one policy, pruned and not trained again."""
        return self.trained_by is None or not schedule(self.trained_by.schedule).during_training

    def of(self, rows: Int[np.ndarray, " row"]) -> "Population":
        """Some of the members, by number, in that order."""
        some = jax.tree.map(lambda leaf: leaf[rows], self.agents)
        return replace(self, members=self.members.of(rows), agents=some, diverged=self.diverged[rows])

    def under(self, budget: Budget) -> "Population":
        """The same agents under another budget. Raises SpecError where it does not fit their observations."""
        budget.check_fits(self.env.observation_size)
        return replace(self, budget=budget)

    def asked(self, eps: str | float | tuple[float, ...], norm: str, space: str) -> "Population":
        """The same agents under the budget a user asks for; "published" leaves them the one they have."""
        if eps == PUBLISHED:
            return self
        return self.under(one_budget(eps, norm, space, self.env.task, self.env.published_eps))

    def to_dict(self) -> dict[str, Any]:
        """What these agents are, as plain JSON values."""
        return {
            "task": self.env.task,
            "physics": self.env.physics,
            "members": self.members.size,
            "seeds": sorted(set(self.members.seed.tolist())),
            "sparsities": list(dict.fromkeys(self.members.sparsity.tolist())),
            "pruned_post_hoc": self.pruned_post_hoc,
            "verdict_error": self.error,
            "diverged": np.flatnonzero(self.diverged).tolist(),
            "activation": self.agents.activation,
            "discount": self.discount,
            **({"squashes": True} if self.env.squashes else {}),
            **self.budget.to_dict(),
        }


def policy_of(
    file: Path | str,
    *,
    member: int | None = None,
    normalizer: Path | str | None = None,
    activation: str | None = None,
) -> PolicyFile:
    """The policy in a file, or of a member of a run, as `Population.from_agent` takes it."""
    if not is_run(file):
        if member is not None:
            raise SpecError(f"member: {file} is not the folder of a run, and holds one agent; leave it out")
        return read_policy(file, normalizer=normalizer, activation=activation)
    if normalizer is not None or activation is not None:
        raise SpecError("normalizer, activation: a run knows those of its members; leave them out")
    if member is None:
        raise SpecError(f"member: {file} is a run, which has many; say which, by its number in the tables")
    return Population.load(file).policy(member)


def is_run(path: Path | str) -> bool:
    """Whether this is the folder of a run."""
    return (Path(path) / "spec.json").is_file()


def members(spec: SweepSpec) -> Members:
    """Every seed at every sparsity in every arm: arm by arm, seed by seed."""
    arm, seed, sparsity = np.meshgrid(
        np.array(spec.arms), np.array(spec.seed_numbers), np.array(spec.sparsities), indexing="ij"
    )
    return Members(seed.ravel(), sparsity.ravel(), arm.ravel())


def environment(spec: SweepSpec) -> Environment:
    """The environment of a spec. Raises SpecError if the head does not fit the task's actions."""
    env = envs.make(spec.env, spec.physics, charge=spec.charge)
    needed = "categorical" if env.action_space.discrete else "gaussian"
    if spec.head not in ("auto", needed):
        raise SpecError(
            f"head: {spec.head!r} does not fit {spec.env}, whose actions need {needed!r}; use auto"
        )
    return env


def prune(agent: Agent, sparsity: Float[Array, ""]) -> Agent:
    """The agent without the smallest weights of each layer of its policy."""
    return agent.replace(mask=masks.lowest_removed(scores.magnitude(kernels(agent.policy)), sparsity))


def _like(spec: SweepSpec, env: Environment, count: int) -> Saved:
    """A population of the shapes that the run of a spec leaves behind."""

    def one(key: PRNGKeyArray) -> Agent:
        agent = agents.init(
            key,
            env.observation_size,
            env.action_space.size,
            discrete=env.action_space.discrete,
            hidden=spec.hidden,
            activation=spec.activation,
        )
        values = None if spec.networks == ACTOR else masks.dense(agent.value)
        return agent.replace(mask=masks.dense(agent.policy), value_mask=values)

    everyone = jax.vmap(one)(jax.random.split(jax.random.key(0), count))
    return Saved(everyone, jnp.zeros(count, bool))


def _load_format_2(folder: Path, like: Saved) -> Saved:
    """A population that was written with every member twice, pruned and unmasked."""
    plain = {name: getattr(like.agents, name) for name in ("policy", "log_std", "value", "normalizer")}
    everything = {"agents": plain, "unmasked": plain, "diverged": like.diverged}
    old = checkpoint.load(folder, everything, unsigned=True)  # digests came with the next format
    # A weight that is 0 without its mask may count as kept.
    kept = jax.tree.map(
        lambda with_mask, without: jnp.where((with_mask == 0) & (without != 0), 0.0, 1.0),
        kernels(old["agents"]["policy"]),
        kernels(old["unmasked"]["policy"]),
    )
    return Saved(like.agents.replace(mask=kept, **old["unmasked"]), old["diverged"])
