"""Sensors that fail and stay failed for a while: a disturbance of nature, not of an enemy."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxprune.attacks.api import Victim
from jaxprune.budget import Ball


class Failure(NamedTuple):
    """Which features have failed, and how far each has drifted since (0 while it works)."""

    failed: Bool[Array, " obs"]
    offset: Float[Array, " obs"]


class Sensor(struct.PyTreeNode):
    """Groups of features fail and come back, each group by its own two-state Markov chain.

    A working group fails with probability `failure` per step, a failed one recovers with probability
    `recovery`. So the share of failed steps is `failure / (failure + recovery)` from the first step on (the
    chain starts stationary), an outage lasts `1 / recovery` steps on average, and the lag-1 correlation is
    `1 - failure - recovery`.

    drift: None for sensors that drop out, which are shown as their mean (0 in the normalised space). A number
    for sensors that drift: the reading moves away from the truth by that much per step, in a direction
    drawn when the group fails, and is right again when it recovers.

    The perturbation is projected onto the ball like any other, so a small eps only drags a failed feature
    towards its mean. An l_inf eps of 10 in the normalised space, where features are clipped to 10, is a
    complete outage.

    groups: [obs], numbers in 0 ... obs - 1; features with the same number fail together. None: each feature
    on its own. After "When Sensors Fail" (Vogt-Lowell et al. 2026, arXiv 2603.04648); the rates and this
    parametrisation are ours.
    """

    groups: Int[Array, "*members obs"] | None = None
    failure: Float[Array, "*members"] | float = 0.02
    recovery: Float[Array, "*members"] | float = 0.1
    drift: Float[Array, "*members"] | float | None = None
    name: str = struct.field(pytree_node=False, default="sensor")

    def start(self, key: PRNGKeyArray, x: Float[Array, " obs"]) -> Failure:
        """Which features have failed: a draw from the stationary distribution of the chain."""
        failed_key, direction_key = jax.random.split(key)
        rates = self.failure + self.recovery
        share = self.failure / jnp.where(rates > 0, rates, 1.0)
        nothing = Failure(jnp.zeros(x.size, bool), jnp.zeros_like(x))
        return self._next(nothing, self._draw(failed_key, x.size) < share, direction_key)

    def perturb(
        self,
        key: PRNGKeyArray,
        victim: Victim,
        x: Float[Array, " obs"],
        ball: Ball,
        memory: Failure,
    ) -> tuple[Float[Array, " obs"], Failure]:
        """The point as the failed sensors show it, and which will have failed next."""
        chain_key, direction_key = jax.random.split(key)
        mean = victim.agent.normalizer.mean if victim.space == "raw" else jnp.zeros_like(x)
        wrong = jnp.where(memory.failed, mean - x, 0.0) if self.drift is None else memory.offset
        still_failed = jnp.where(memory.failed, 1 - self.recovery, self.failure)
        failed = self._draw(chain_key, x.size) < still_failed
        return x + ball.project(wrong), self._next(memory, failed, direction_key)

    def _next(self, before: Failure, failed: Bool[Array, " obs"], key: PRNGKeyArray) -> Failure:
        """The drift goes on in its direction, begins in a new one, or is over."""
        if self.drift is None:
            return Failure(failed, before.offset)
        drawn = jnp.sign(self._draw(key, failed.size) - 0.5)
        direction = jnp.where(before.failed, jnp.sign(before.offset), drawn)
        return Failure(failed, jnp.where(failed, before.offset + self.drift * direction, 0.0))

    def _draw(self, key: PRNGKeyArray, size: int) -> Float[Array, " obs"]:
        """One uniform number per group, handed to each of its features."""
        draw = jax.random.uniform(key, (size,))
        return draw if self.groups is None else draw[self.groups]
