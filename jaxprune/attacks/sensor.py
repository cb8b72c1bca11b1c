"""Sensors that fail and stay failed for a while: a disturbance of nature, not of an enemy."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxprune.attacks.api import Ball, Victim


@struct.dataclass
class Sensor:
    """Groups of features drop out and come back, each group by its own two-state Markov chain.

    A working group fails with probability `failure` per step, a failed one recovers with probability
    `recovery`. So the share of failed steps is `failure / (failure + recovery)` from the first step on (the
    chain starts stationary), an outage lasts `1 / recovery` steps on average, and the lag-1 correlation is
    `1 - failure - recovery`. A failed feature is shown as its mean (0 in the normalised space).

    The perturbation is projected onto the ball like any other, so a small eps only drags a failed feature
    towards its mean. An l_inf eps of 10 in the normalised space, where features are clipped to 10, is a
    complete outage.

    groups: [obs], numbers in 0 ... obs - 1; features with the same number fail together. None: each feature
    on its own. After "When Sensors Fail" (Vogt-Lowell et al. 2026, arXiv 2603.04648); the rates and this
    parametrisation are ours.
    """

    groups: Int[Array, "..."] | None = None
    failure: Float[Array, "..."] | float = 0.02
    recovery: Float[Array, "..."] | float = 0.1
    name: str = struct.field(pytree_node=False, default="sensor")

    def start(self, key: PRNGKeyArray, point: Float[Array, " obs"]) -> Bool[Array, " obs"]:
        """Which features have failed: a draw from the stationary distribution of the chain."""
        rates = self.failure + self.recovery
        share = self.failure / jnp.where(rates > 0, rates, 1.0)
        return self._draw(key, point.size) < share

    def perturb(
        self,
        key: PRNGKeyArray,
        victim: Victim,
        point: Float[Array, " obs"],
        ball: Ball,
        memory: Bool[Array, " obs"],
    ) -> tuple[Float[Array, " obs"], Bool[Array, " obs"]]:
        """The point with its failed features pulled to their mean, and which will have failed next."""
        mean = victim.agent.normalizer.mean if victim.space == "raw" else jnp.zeros_like(point)
        outage = jnp.where(memory, mean - point, 0.0)
        still_failed = jnp.where(memory, 1 - self.recovery, self.failure)
        return point + ball.project(outage), self._draw(key, point.size) < still_failed

    def _draw(self, key: PRNGKeyArray, size: int) -> Float[Array, " obs"]:
        """One uniform number per group, handed to each of its features."""
        draw = jax.random.uniform(key, (size,))
        return draw if self.groups is None else draw[self.groups]
