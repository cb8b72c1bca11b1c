"""Policy smoothing of a whole population: episodes under Gaussian noise, and what they certify.

Every member acts on `s + N(0, sigma^2 I)`, drawn anew at every step in the space of the budget. Its returns
become lower limits on its return against any adaptive adversary of a total l2 budget (`certify.smoothing`).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from flax import struct
from jaxtyping import Array, Float, Key, PRNGKeyArray

from jaxprune.attacks import Ball, Victim
from jaxprune.attacks.api import Memory, Memoryless
from jaxprune.certify import (
    certified_mean_return,
    certified_return_probability,
    certified_vote,
    episodes_needed,
)
from jaxprune.envs import Environment
from jaxprune.errors import SpecError
from jaxprune.evaluation import Condition
from jaxprune.outcome import Members
from jaxprune.play import play

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
    """A return that no episode can fall below. Needed for a bound on the mean return where the task does not
    bound its reward."""

    def check(self, confidence: float) -> None:
        """Raise SpecError unless so many episodes can certify a likely return with this confidence."""
        if self.smoothing_sigma is None:
            return
        adversary = self.adversary(confidence)
        needed = episodes_needed(LIKELY, **adversary)
        if self.smoothing_episodes < needed:
            raise SpecError(
                f"smoothing_episodes: {self.smoothing_episodes} can certify no return that is reached with "
                f"probability {LIKELY} at confidence {confidence}; at least {needed} are needed"
            )
        certified_vote(np.array([self.smoothing_votes, 0]), sigma=self.smoothing_sigma, confidence=confidence)
        # What the bound on the mean asks for is refused here, before any episode is played.
        certified_mean_return(np.zeros(self.smoothing_episodes), lowest=0.0, **adversary)

    def adversary(self, confidence: float) -> dict[str, float]:
        """What the certificates are about."""
        return {"budget": self.smoothing_budget, "sigma": self.smoothing_sigma, "confidence": confidence}


@struct.dataclass
class Noise(Memoryless):
    """`s_hat = s + sigma z`, `z ~ N(0, I)`, cut to no ball: what a smoothed policy acts on."""

    sigma: Float[Array, "..."] | float
    name: str = struct.field(pytree_node=False, default="smoothing")

    def perturb(
        self, key: PRNGKeyArray, victim: Victim, point: Float[Array, " obs"], ball: Ball, memory: Memory
    ) -> tuple[Float[Array, " obs"], Memory]:
        """A fresh draw at every step."""
        return point + self.sigma * jax.random.normal(key, point.shape), memory


def certify_returns(
    spec: SmoothingSpec,
    env: Environment,
    victims: Victim,
    members: Members,
    keys: Key[Array, " member"],
    thresholds: Float[np.ndarray, " member"],
    confidence: float,
) -> pl.DataFrame:
    """One row per member: lower limits on its return when it is smoothed and attacked.

    thresholds: a return per member, chosen without the smoothed episodes.

    Raises SpecError if an episode returned less than `smoothing_lowest`.
    """
    everything = Condition(Noise(spec.smoothing_sigma), Ball(jnp.full(1, jnp.inf), "l2"))
    tally, _ = play(env, victims, everything, keys, spec.smoothing_episodes, 0)
    adversary = spec.adversary(confidence)
    lowest = lowest_return(env) if spec.smoothing_lowest is None else spec.smoothing_lowest
    rows = []
    for member, (seed, sparsity) in enumerate(zip(*members, strict=True)):
        returns, threshold = tally.total[member, 0].astype(np.float64), float(thresholds[member])
        rows.append(
            {
                "member": member,
                "seed": int(seed),
                "sparsity_asked": float(sparsity),
                "space": victims.space,
                **adversary,
                "episodes": returns.size,
                "return_mean": returns.mean(),
                "certified_mean": None
                if lowest is None
                else certified_mean_return(returns, lowest=lowest, **adversary),
                "threshold": threshold,
                "certified_probability": certified_return_probability(returns, threshold, **adversary),
            }
        )
    return pl.DataFrame(rows, schema_overrides={"certified_mean": pl.Float64})


def lowest_return(env: Environment) -> float | None:
    """A return that no episode can fall below; None where the task does not bound its reward."""
    if env.reward_range is None:
        return None
    # An episode may end after any number of steps.
    return min(0.0, env.horizon * env.reward_range[0])
