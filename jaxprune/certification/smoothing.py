"""Policy smoothing of a whole population: episodes under Gaussian noise, and what they certify.

Every member acts on `s + N(0, sigma^2 I)`, drawn anew at every step in the space of the budget. Its returns
become lower limits on its return against any adaptive adversary of a total l2 budget (`bounds.smoothing`).
The limits of all members hold together, so the best of them may be named.
"""

from dataclasses import dataclass
from math import isfinite, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from flax import struct
from jaxtyping import Array, Float, Key, PRNGKeyArray

from jaxprune import kept, parse
from jaxprune.attacks import Victim
from jaxprune.attacks.api import Memory, Memoryless
from jaxprune.bounds import (
    certified_mean_return,
    certified_return_probability,
    certified_vote,
    episodes_needed,
)
from jaxprune.budget import Ball
from jaxprune.certification.stages import Stage, unkept
from jaxprune.envs import Environment
from jaxprune.errors import SpecError
from jaxprune.evaluation import Condition, Heard, for_all, play
from jaxprune.population import Members, Population

LIKELY = 0.5
"""What the episodes asked for must be able to certify: a return that is reached more often than not."""


@dataclass(frozen=True)
class SmoothingSpec:
    """Smoothing: how much noise, against which adversary, over how many episodes and draws at a state.

    Raises SpecError on construction for anything that could certify nothing.
    """

    smoothing_sigma: float | None = None
    """Standard deviation of the Gaussian noise on the observation, in the units of eps. Left out: none."""
    smoothing_budget: float = 0.2
    """Total l2 budget of the adversary over an episode: sqrt(sum_t ||d_t||^2)."""
    smoothing_episodes: int = 100
    """Smoothed episodes per member."""
    smoothing_votes: int = 1000
    """Draws of the noise at each state, for certified actions. Categorical policies only."""
    smoothing_lowest: float | None = None
    """The limit on the mean is one on E[max(return, lowest)], which needs no lowest return to be known. Left
    out: the task's lowest return where its reward is bounded, else 0."""

    def __post_init__(self) -> None:
        sigma, budget, lowest = self.smoothing_sigma, self.smoothing_budget, self.smoothing_lowest
        if sigma is not None and not 0 < sigma <= parse.LARGEST:
            raise SpecError(f"smoothing_sigma: {sigma:g} must be a finite number above 0")
        if not 0 <= budget <= parse.LARGEST:
            raise SpecError(f"smoothing_budget: {budget:g} must be a finite number of at least 0")
        if lowest is not None and not isfinite(lowest):
            raise SpecError(f"smoothing_lowest: {lowest:g} must be a finite number")
        parse.check_at_least("smoothing_votes", self.smoothing_votes, 1)

    def check(self, confidence: float, members: int, votes_for: int | None = None) -> None:
        """Raise SpecError unless so many episodes can certify a likely return, of all members together.

        votes_for: number of actions to vote for; None where nobody votes.
        """
        if self.smoothing_sigma is None:
            parse.check_unused(self, SmoothingSpec(), "nothing is smoothed without smoothing_sigma")
            return
        adversary = self.adversary(confidence, members)
        needed = episodes_needed(LIKELY, **adversary)
        if self.smoothing_episodes < needed:
            raise SpecError(
                f"smoothing_episodes: {self.smoothing_episodes} can certify no return that is reached with "
                f"probability {LIKELY} at confidence {confidence:g} for {members} members together; at least "
                f"{needed} are needed"
            )
        if votes_for is not None:
            counts = np.zeros(votes_for, int)
            counts[0] = self.smoothing_votes
            certified_vote(counts, sigma=self.smoothing_sigma, confidence=confidence)
        # What the bound on the mean asks for is refused here, before any episode is played.
        certified_mean_return(np.zeros(self.smoothing_episodes), lowest=0.0, **adversary)

    def check_fits(self, confidence: float, population: Population) -> None:
        """Raise SpecError, as `check` does, for these members."""
        actions = population.env.action_space.size if population.agents.discrete else None
        self.check(confidence, population.members.size, actions)

    def adversary(self, confidence: float, members: int) -> dict[str, float]:
        """What each of the limits is about, with the confidence that each needs.

        Of every member two limits are reported, on the mean and on a probability; by Bonferroni's inequality
        all `2 members` of them hold together with `confidence`, if each fails at most
        `(1 - confidence) / (2 members)` of the time.
        """
        each = 1 - (1 - confidence) / (2 * members)
        return {"budget": self.smoothing_budget, "sigma": self.sigma, "confidence": each}

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise. Raises SpecError where none was asked for."""
        if self.smoothing_sigma is None:
            raise SpecError("smoothing_sigma: nothing is smoothed without noise; give a number above 0")
        return self.smoothing_sigma


class Noise(Memoryless, struct.PyTreeNode):
    """`s_hat = x + sigma z`, `z ~ N(0, I)`, cut to no ball: what a smoothed policy acts on."""

    sigma: Float[Array, "*members"] | float
    name: str = struct.field(pytree_node=False, default="smoothing")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, x: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """A fresh draw at every step."""
        return x + self.sigma * jax.random.normal(key, x.shape), memory


# Long for what it explains.
def certify_returns(
    spec: SmoothingSpec,
    env: Environment,
    victims: Victim,
    members: Members,
    keys: Key[Array, " member"],
    thresholds: Float[np.ndarray, " member"],
    confidence: float,
    audited_budget: float,
    heard: Heard,
    stage: Stage = unkept,
) -> pl.DataFrame:
    """One row per member: lower limits on its return when it is smoothed and attacked.

    What is smoothed is the deterministic policy: it takes the mode at the noisy observation.

    Args:
        spec: noise, adversary and episodes.
        env: where the episodes are played.
        victims: the members.
        members: who they are.
        keys: of their episodes.
        thresholds: a return per member, chosen without the smoothed episodes.
        confidence: with which all limits of all members hold together.
        audited_budget: `episode_budget` of the ball at every step that the other certificates are about.
        heard: told the progress of the episodes.
        stage: told that they begin, and may keep their returns.

    Returns:
        `certified_mean_max_lowest` bounds `E[max(return, lowest)]` from below, whatever the episodes return;
        `mean_max_lowest` is the mean of that without the adversary, and `share_below_lowest` the share of
        episodes that it counts higher than they are. `certified_probability` bounds the probability that the
        return reaches `threshold`. All `simultaneous` limits hold together with `confidence`.
        `audited_over_budget` says how many times the budget here the audited one is.
    """
    everything = Condition(Noise(spec.sigma), Ball(jnp.full(1, jnp.inf), "l2"))
    everywhere = (for_all(everything, members.size),)

    def played() -> kept.Arrays:
        tally, _ = play(env, victims, everywhere, keys, spec.smoothing_episodes, heard=heard)
        return {"returns": tally.total[:, 0]}

    returns_of = stage("smoothed", "smoothed episodes of every member", played)["returns"]
    adversary = spec.adversary(confidence, members.size)
    lowest = lowest_return(env) if spec.smoothing_lowest is None else spec.smoothing_lowest
    about = {
        "space": victims.space,
        **adversary,
        "confidence": confidence,
        "simultaneous": 2 * members.size,
        "audited_budget": audited_budget,
        "audited_over_budget": audited_budget / spec.smoothing_budget if spec.smoothing_budget else None,
    }
    rows = [
        who | about | _limits(np.asarray(returns, np.float64), float(lowest), float(threshold), adversary)
        for who, returns, threshold in zip(members.columns(), returns_of, thresholds, strict=True)
    ]
    return pl.DataFrame(rows, schema_overrides={"audited_over_budget": pl.Float64})


def _limits(
    returns: Float[np.ndarray, " episode"], lowest: float, threshold: float, adversary: dict[str, float]
) -> dict[str, int | float]:
    """What the smoothed episodes of one member say, and certify against this adversary."""
    counted = np.maximum(returns, lowest)
    return {
        "episodes": returns.size,
        "return_mean": returns.mean(),
        "lowest": lowest,
        "share_below_lowest": float((returns < lowest).mean()),
        "mean_max_lowest": counted.mean(),
        "certified_mean_max_lowest": certified_mean_return(counted, lowest=lowest, **adversary),
        "threshold": threshold,
        "certified_probability": certified_return_probability(returns, threshold, **adversary),
    }


def lowest_return(env: Environment) -> float:
    """A return that no episode can fall below where the task bounds its reward; 0 where it does not."""
    # An episode may end after any number of steps.
    return 0.0 if env.reward_range is None else min(0.0, env.horizon * env.reward_range[0])


def episode_budget(eps: float, norm: str, env: Environment) -> float:
    """The largest `sqrt(sum_t ||d_t||_2^2)` of an adversary that has a ball of radius eps at every step.

    `eps sqrt(d) sqrt(H)` for l_inf, with d features and a horizon of H steps; `eps sqrt(H)` for l2.
    """
    features = env.observation_size if norm == "linf" else 1
    return eps * sqrt(features) * sqrt(env.horizon)
