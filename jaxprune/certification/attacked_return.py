"""What the return of every member cannot fall below when its observations are attacked at every step.

The policy that draws its actions plays clean episodes, and a sound bound tells at each state how far an
attack could move the distribution of the action, in its standard deviations. Of an episode only the rewards
and the squares of these shifts are kept, summed over stretches of steps; no state is. Half of the episodes
choose how much an attacked episode may spend, the other half are certified (`bounds.composition`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Array, Float, Key

from jaxprune import parse
from jaxprune.attacks import Mad, Nothing, Victim
from jaxprune.bounds import (
    BOUNDS,
    Episodes,
    categorical_shift_bound,
    chosen_mean,
    filter_curve,
    filter_mean,
    in_blocks,
    kl_gap,
    largest_budget,
)
from jaxprune.bounds.rounding import outward
from jaxprune.budget import Ball
from jaxprune.certification.policy import ARITHMETIC, distances
from jaxprune.certification.smoothing import lowest_return
from jaxprune.certification.units import is_deterministic
from jaxprune.errors import SpecError
from jaxprune.evaluation import STEPS_AT_ONCE, Condition, Heard, Visits, for_all, play, stretches
from jaxprune.policy import Agent
from jaxprune.population import Population
from jaxprune.pruning import masks

LOCAL = {"crown": BOUNDS["crown"]}
"""The bound at each state, beside those of the weights alone."""

SIDE_BY_SIDE = 5
"""States in a row of those that are bounded side by side: as few as fit a processor's cache."""

STATEMENTS = 4
"""About each member and radius: the mean, the mean by blocks, the probabilities, the mean by the KL gap."""

KL_OF_SQUARE = {False: 0.5, True: 1 / np.pi}
"""What KL divergence a squared shift stands for: of a Gaussian, and of a softmax policy, whose shift is
sqrt(pi / 8) spans of its logits and whose divergence is an eighth of the squared span."""

SHARES = tuple(round(0.1 * share, 1) for share in range(1, 11))
"""Thresholds of the probabilities, as shares of the dense twin's clean return."""

HALF = SHARES.index(0.5)


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


class Spent(NamedTuple):
    """What clean episodes earned and could be shifted by, in stretches of `STEPS_AT_ONCE` steps.

    rewards: their sum. squares: that of the squares of the bounds on the shift. attacked: returns of other
    episodes, under MAD.
    """

    rewards: Float[np.ndarray, "member episode stretch"]
    squares: Float[np.ndarray, "member radius episode stretch"]
    attacked: Float[np.ndarray, "member radius attacked"]

    def of(self, member: int, radius: int, blocks: int, horizon: int) -> Episodes:
        """The episodes of one member under one radius, in so many blocks of about equal length."""
        ends = block_ends(blocks, horizon)
        # A stretch counts as one step whose square is the sum of theirs.
        return in_blocks(
            self.rewards[member],
            np.sqrt(self.squares[member, radius]),
            np.full(self.rewards.shape[1], ends[-1]),
            ends=ends,
        )


def joined_spent(parts: Sequence[Spent], order: np.ndarray) -> Spent:
    """What the members of all parts have spent, in this order of them."""
    return Spent(*(np.concatenate(of_each)[order] for of_each in zip(*parts, strict=True)))


def block_ends(blocks: int, horizon: int) -> np.ndarray:
    """The number of stretches up to the end of each block; no more blocks than stretches."""
    count = -(-horizon // STEPS_AT_ONCE)
    return np.unique(np.ceil(np.linspace(0, count, min(blocks, count) + 1)).astype(int))[1:]


def spent(spec: ReturnSpec, population: Population, keys: Key[Array, " member"], heard: Heard) -> Spent:
    """Clean episodes of sampled actions, and how far each of their states could have been attacked."""
    budget, env, count = population.budget, population.env, population.members.size
    agents = widened(population.agents, spec.return_std)
    clean = for_all(Condition(Nothing(), Ball(jnp.zeros(1), budget.norm), "sampled"), count)
    episodes, radii = spec.return_episodes, jnp.asarray(spec.radii)
    totals, squares, before = [np.zeros((count, episodes))], [], 0
    victims = Victim(agents, budget.space)
    for tally, visits in stretches(env, victims, (clean,), keys, episodes, record=episodes):
        totals.append(np.asarray(tally.total[:, 0], float))
        squares.append(jax.device_get(_squares(agents, visits, radii, norm=budget.norm, space=budget.space)))
        steps = int(tally.length.sum())
        heard(tally, steps - before)
        before = steps
    missing = int(block_ends(1, env.horizon)[-1]) - len(squares)  # all episodes had ended

    def whole(parts: np.ndarray) -> np.ndarray:
        return np.pad(parts, [(0, 0)] * (parts.ndim - 1) + [(0, missing)])

    worst = for_all(Condition(Mad(), Ball(radii, budget.norm), "sampled"), count)
    attacked, _ = play(env, victims, (worst,), keys, spec.return_attacked, heard=heard)
    return Spent(
        whole(np.diff(np.stack(totals, axis=-1))),
        whole(np.stack(squares, axis=-1).astype(float)),
        np.asarray(attacked.total, float),
    )


def widened(agents: Agent, factor: float) -> Agent:
    """The same policies with so many times their standard deviation."""
    if agents.log_std is None or factor == 1:
        return agents
    return agents.replace(log_std=agents.log_std + np.log(factor))


@partial(jax.jit, static_argnames=("norm", "space"))
def _squares(
    agents: Agent, visits: Visits, radii: Float[Array, " radius"], *, norm: str, space: str
) -> Float[Array, "member radius episode"]:
    """The squares of the bounds on the shift, summed over the states of a stretch, rounded up."""

    def one(member: tuple[Agent, Visits]) -> Float[Array, "radius episode"]:
        agent, seen = member
        std = None if agent.log_std is None else jnp.exp(agent.log_std)

        def under(eps: Float[Array, ""]) -> Float[Array, " episode"]:
            states = seen.observation.reshape(-1, SIDE_BY_SIDE, seen.observation.shape[-1])
            far = distances(agent, std, states, eps, norm=norm, space=space, local=LOCAL)
            shift = far.tightest().reshape(seen.alive.shape)
            if std is None:
                shift = categorical_shift_bound(shift)
            total = jnp.sum(jnp.where(seen.alive, shift, 0.0) ** 2, axis=0)
            return outward(total, seen.alive.shape[0])

        return jax.lax.map(under, radii)

    # One member and radius at a time: the matrices of all states would not fit a small memory.
    return jax.lax.map(one, (agents, visits))


class AttackedReturns(NamedTuple):
    """Lower limits that hold for all members and radii together.

    means: a row per member x radius. `largest_budget`: the most that these episodes could let one spend and
    still certify that a return is reached more often than not. `return_mean` is the clean mean of the
    episodes certified, `mean_max_lowest` that of max(return, lowest), and `certified_mean` the lower limit on
    the latter under attack. `mean_blocks` and `certified_blocks` are the same with the sum over the blocks of
    max(return of a block, its share of lowest). `certified_kl` is what the KL gap leaves of the mean of
    returns cut to [lowest, the largest of the choosing half]. `certified_probability` bounds the probability
    of a return of at least `threshold`, half the mean of the dense twin's choosing half. `spent` is the
    median of sqrt(sum of squared shifts), `budget` the most that an attacked episode may spend and still
    count. `attacked_mean` is an estimate: the return under MAD, of `attacked_episodes`. Members that diverged
    have no limits.
    curve: a row per member x radius x threshold: `probability` of the clean episodes, and its limit.
    """

    means: pl.DataFrame
    curve: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """By the name that each is written under."""
        return {"attacked_returns": self.means, "attacked_return_curve": self.curve}


def attacked_returns(
    spec: ReturnSpec, population: Population, made: Spent, confidence: float
) -> AttackedReturns:
    """What the episodes certify."""
    lowest = lowest_return(population.env) if spec.return_lowest is None else spec.return_lowest
    achieved = np.asarray(jax.vmap(masks.achieved)(population.agents))
    members, horizon = population.members, population.env.horizon
    choosing = made.rewards[:, : -spec.certifying].sum(axis=-1).mean(axis=1)
    each = spec.each(confidence, members.size)
    about = {
        "norm": population.budget.norm,
        "space": population.budget.space,
        "std": spec.return_std,
        "arithmetic": ARITHMETIC,
        "confidence": confidence,
        "simultaneous": STATEMENTS * members.size * len(spec.radii),
        "episodes": spec.certifying,
        "largest_budget": largest_budget(0.5, spec.certifying, sigma=1.0, confidence=each),
        "lowest": float(lowest),
    }
    means, curve = [], []
    for member, who in enumerate(members.columns()):
        thresholds = choosing[members.dense_twin()[member]] * np.array(SHARES)
        for radius, eps in enumerate(spec.radii):
            lost = bool(population.diverged[member])
            place = {**who, "sparsity": float(achieved[member]), "eps": eps, **about, "diverged": lost}
            if lost:
                means.append(place)
                continue
            whole, parts = (
                _halves(made.of(member, radius, blocks, horizon), spec.certifying)
                for blocks in (1, spec.return_blocks)
            )
            one = _in_one(*whole, float(lowest), each, KL_OF_SQUARE[population.agents.discrete])
            returns, paid = whole[1].returns[:, 0], whole[1].spent[:, 0]
            certified = filter_curve(
                returns, paid, thresholds, budgets=np.array([one["budget"]]), confidence=each
            )[0]
            seen = {
                "attacked_mean": made.attacked[member, radius].mean(),
                "attacked_episodes": spec.return_attacked,
            }
            half = {"threshold": thresholds[HALF], "certified_probability": certified[HALF]}
            means.append(place | one | _in_several(*parts, float(lowest), horizon, each) | half | seen)
            curve += [
                place | {"threshold": t, "probability": np.mean(returns >= t), "certified_probability": c}
                for t, c in zip(thresholds, certified, strict=True)
            ]
    return AttackedReturns(pl.DataFrame(means, infer_schema_length=None), pl.DataFrame(curve))


def _halves(episodes: Episodes, certifying: int) -> tuple[Episodes, Episodes]:
    """Those that choose, and those that are certified."""
    return (
        Episodes(*(part[:-certifying] for part in episodes)),
        Episodes(*(part[-certifying:] for part in episodes)),
    )


def _in_one(
    choosing: Episodes, certifying: Episodes, lowest: float, confidence: float, kl_of_square: float
) -> dict[str, float]:
    """The limits on the mean of episodes of one block: by the filter and by the KL gap."""
    found = chosen_mean(choosing, certifying, lowest=np.array([lowest]), confidence=confidence)
    returns, paid = certifying.returns[:, 0], certifying.spent[:, 0]
    return {
        "return_mean": returns.mean(),
        "mean_max_lowest": np.maximum(returns, lowest).mean(),
        "certified_mean": found.bound,
        "budget": found.budgets[0],
        "spent": np.sqrt(np.median(paid)),
        "certified_kl": _mean_by_kl(choosing, certifying, lowest, confidence, kl_of_square),
    }


def _mean_by_kl(
    choosing: Episodes, certifying: Episodes, lowest: float, confidence: float, kl_of_square: float
) -> float:
    """The clean mean less the KL gap, each at half of the error; `lowest` where they leave less."""
    returns, highest = certifying.returns[:, 0], float(choosing.returns.max())
    if highest <= lowest:
        return lowest
    half = (1 + confidence) / 2
    cap = kl_of_square * choosing.spent.max() + np.finfo(float).tiny
    gap = kl_gap(kl_of_square * certifying.spent[:, 0], span=highest - lowest, cap=cap, confidence=half)
    cut = np.minimum(returns, highest)
    clean = filter_mean(cut, np.zeros_like(cut), lowest=lowest, budget=0.0, confidence=half)
    return max(lowest, clean - gap)


def _in_several(
    choosing: Episodes, certifying: Episodes, lowest: float, horizon: int, confidence: float
) -> dict[str, float | int]:
    """The limit on the mean of several blocks, each of which pays for the shifts up to its end."""
    blocks = certifying.returns.shape[1]
    ends = np.minimum(block_ends(blocks, horizon) * STEPS_AT_ONCE, horizon)
    least = lowest * np.diff(ends, prepend=0) / horizon
    return {
        "blocks": blocks,
        "mean_blocks": np.maximum(certifying.returns, least).sum(axis=1).mean(),
        "certified_blocks": chosen_mean(choosing, certifying, lowest=least, confidence=confidence).bound,
    }
