"""The records of a member in training: how it is trained, what it carries, and what an iteration brought."""

from dataclasses import fields
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from jaxprune.policy import Agent, Kernels, Normalizer
from jaxprune.pruning import SCHEDULES, SCORES, Schedule, Score
from jaxprune.training.arms import Chosen
from jaxprune.training.ppo import Diagnostics, Hyperparameters
from jaxprune.training.rollout import Workers

(
    OPPONENT_TAG,
    PACE_TAG,
    CRITIC_TAG,
    VALUE_TAG,
    GROWTH_TAG,
    FRESH_TAG,
    LEARNED_TAG,
    OF_VALUES_TAG,
    UNTRAINED_TAG,
) = (np.uint32(2**31 + i) for i in range(4, 13))
"""Set the streams of opponents, self-paced budgets, further critics, next values, weights that grow, agents
that are drawn anew, scores that are learned, those of the value network and what an untrained agent sees
apart, see `streams`."""


ACTOR, CRITIC = "actor", "critic"
NETWORKS = (ACTOR, CRITIC, "both")
"""The networks that can be pruned: that of the policy, that of its values, or both."""


class Recipe(struct.PyTreeNode):
    """What shapes the program of one iteration; the same for every member. All fields are static.

    filter: whether an observation filter is learned; False for observations that come normalised.
    chosen: the regularisers. networks: which are pruned, of `NETWORKS`.
    """

    environments: int = struct.field(pytree_node=False, default=16)
    unroll: int = struct.field(pytree_node=False, default=128)
    epochs: int = struct.field(pytree_node=False, default=10)
    minibatches: int = struct.field(pytree_node=False, default=8)
    hidden: tuple[int, ...] = struct.field(pytree_node=False, default=(64, 64))
    activation: str = struct.field(pytree_node=False, default="tanh")
    chosen: tuple[Chosen, ...] = struct.field(pytree_node=False, default=())
    filter: bool = struct.field(pytree_node=False, default=True)
    schedule: Schedule = struct.field(pytree_node=False, default=SCHEDULES["posthoc"])
    score: Score = struct.field(pytree_node=False, default=SCORES["magnitude"])
    scope: str = struct.field(pytree_node=False, default="layer")
    networks: str = struct.field(pytree_node=False, default=ACTOR)

    @property
    def ranks(self) -> Score:
        """What ranks weights once training has begun: the score, or that of the weights that come."""
        return self.schedule.grows or self.score

    @property
    def steps(self) -> int:
        """Environment steps of one member in one iteration."""
        return self.environments * self.unroll


class Learner(struct.PyTreeNode):
    """A member's whole state: with the iteration number, enough to go on exactly where it stopped.

    agent: with the mask it has now.
    sparsity: the target. returns: running statistics of the discounted return, which scale the reward.
    score_key: fixed for the run, so that random scores keep their order.
    diverged: training has left the finite numbers; everything else is as it last was finite, and stays so.
    budgets: of the regularisers that pace themselves, by name.
    adversary: the learner that is trained against this one, turn by turn; None for most arms.
    critics: of the regularisers that learn one, by name.
    ranking: the scores of the weights, if the score builds on what it was; else empty.
    kept: the agents that a lottery goes back to, see `lottery`; else empty.
    """

    agent: Agent
    sparsity: Float[Array, "*members"]
    hyper: Hyperparameters
    optimiser_state: optax.OptState
    returns: Normalizer
    discounted: Float[Array, "*members env"]
    workers: Workers
    key: Key[Array, "*members"]
    score_key: Key[Array, "*members"]
    diverged: Bool[Array, "*members"]
    budgets: dict[str, Float[Array, "*members"]] = struct.field(default_factory=dict)
    adversary: "Learner | None" = None
    critics: dict[str, Any] = struct.field(default_factory=dict)
    ranking: Kernels = struct.field(default_factory=dict)
    kept: dict[str, Agent] = struct.field(default_factory=dict)


class Progress(struct.PyTreeNode):
    """What one iteration of one member brought.

    return_sum, length_sum: over the `episodes` that ended in it (raw, undiscounted).
    failed: episodes ended by physics that was not finite.
    diverged: the member is frozen, and the iteration counts for nothing: no episodes, losses NaN.
    """

    episodes: Int[Array, "*batch"]
    return_sum: Float[Array, "*batch"]
    length_sum: Int[Array, "*batch"]
    failed: Int[Array, "*batch"]
    sparsity: Float[Array, "*batch"]
    diverged: Bool[Array, "*batch"]
    update: Diagnostics


def no_progress(iterations: int, members: int) -> Progress:
    """Room for what these iterations will bring, zeros [iteration, member]."""

    def room(kind: type = jnp.float32) -> Array:
        return jnp.zeros((iterations, members), kind)

    return Progress(
        episodes=room(jnp.int32),
        return_sum=room(),
        length_sum=room(jnp.int32),
        failed=room(jnp.int32),
        sparsity=room(),
        diverged=room(bool),
        update=Diagnostics(*(room() for _ in fields(Diagnostics))),
    )
