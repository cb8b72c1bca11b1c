"""Proximal policy optimisation of one member (Schulman et al. 2017, arXiv 1707.06347), pruned or not.

Everything that does not shape an array is a traced leaf, so members may differ in it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxprune.policy import Agent, Kernels, Params, kernels, masked
from jaxprune.pruning import masks
from jaxprune.training.arms import Chosen
from jaxprune.training.batch import Batch
from jaxprune.training.regularizers import Leaves, Moment
from jaxprune.training.regularizers.schedule import scheduled
from jaxprune.training.settings import PPOSettings
from jaxprune.training.shuffle import orders

Scalar = Float[Array, ""] | float

REGULARIZERS_TAG = np.uint32(2**31 + 1)
"""Sets the stream of the regularisers apart; no split of the same key reaches it, see `streams`."""


class Hyperparameters(PPOSettings, struct.PyTreeNode, frozen=True):
    """The settings of PPO as leaves: plain numbers as declared; inside a program a traced number each, in a
    population [member], which `jax.tree.map` makes of them.

    value_rate: learning rate of the value network over that of the policy. Adam's step knows no scale of the
    loss, so this and not `value_weight` tells how fast the value network learns.
    regularizers: the numbers of each regulariser, by its name.
    """

    value_rate: float = 1.0
    regularizers: Mapping[str, Leaves] = struct.field(default_factory=dict)


class Trainable(struct.PyTreeNode):
    """What the optimiser moves. Policy kernels are kept unmasked: a weight that returns is what it was."""

    policy: Params
    log_std: Float[Array, "*members act"] | None
    value: Params


class Diagnostics(struct.PyTreeNode):
    """What one update looked like, averaged over its minibatches."""

    policy_loss: Float[Array, "*batch"]
    value_loss: Float[Array, "*batch"]
    entropy: Float[Array, "*batch"]
    kl: Float[Array, "*batch"]
    clip_fraction: Float[Array, "*batch"]


def gae(
    r_t: Float[Array, " time"],
    v_t: Float[Array, " time"],
    v_next_t: Float[Array, " time"],
    terminated_t: Array,
    truncated_t: Array,
    discount: Float[Array, ""] | float,
    gae_lambda: Float[Array, ""] | float,
) -> Float[Array, " time"]:
    """Generalised advantage estimates of one trajectory (Schulman et al. 2016, arXiv 1506.02438).

    delta_t = r_t + discount (1 - terminated_t) v_next_t - v_t,
    A_t = delta_t + discount lambda (1 - done_t) A_{t+1}, done = terminated or truncated.
    `v_next_t` is the value of the true next state: at a truncation, of the state before the reset.
    """
    delta_t = r_t + discount * (1.0 - terminated_t) * v_next_t - v_t
    carry_t = discount * gae_lambda * (1.0 - (terminated_t | truncated_t))

    def backwards(advantage: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, carry = step
        advantage = delta + carry * advantage
        return advantage, advantage

    return jax.lax.scan(backwards, jnp.zeros(()), (delta_t, carry_t), reverse=True)[1]


def trainable(agent: Agent) -> Trainable:
    """The part of an agent the optimiser moves."""
    return Trainable(agent.policy, agent.log_std, agent.value)


def loss(
    moved: Trainable,
    agent: Agent,
    batch: Batch,
    hyper: Hyperparameters,
    terms: tuple[tuple[Chosen, Moment], ...] = (),
) -> tuple[Float[Array, ""], Diagnostics]:
    """Clipped surrogate + value_weight * 1/2 (V - target)^2 - entropy_weight * entropy, over one minibatch.

    Advantages are standardised within the minibatch. terms: what regularisers add.
    """
    agent = agent.replace(policy=moved.policy, log_std=moved.log_std, value=moved.value).pruned()
    policy = jax.vmap(agent.distribution)(batch.x)
    log_prob = jax.vmap(lambda p, a: p.log_prob(a))(policy, batch.action)
    log_ratio = log_prob - batch.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    clipped = jnp.clip(ratio, 1.0 - hyper.clip, 1.0 + hyper.clip)
    policy_loss = -jnp.minimum(ratio * advantage, clipped * advantage).mean()
    value_loss = 0.5 * jnp.square(jax.vmap(agent.state_value)(batch.x) - batch.value_target).mean()
    entropy = jax.vmap(lambda p: p.entropy())(policy).mean()
    total = policy_loss + hyper.value_weight * value_loss - hyper.entropy_weight * entropy
    for chosen, moment in terms:
        if chosen.regularizer.loss is not None:
            term = chosen.regularizer.loss(agent, batch, hyper.regularizers[chosen.name], moment)
            # Bounds are rounded outwards, also around a ball that is a point.
            total = total + (jnp.where(moment.eps > 0, term, 0.0) if chosen.has_budget else term)
    return total, Diagnostics(
        policy_loss=policy_loss,
        value_loss=value_loss,
        entropy=entropy,
        kl=(ratio - 1.0 - log_ratio).mean(),
        clip_fraction=(jnp.abs(ratio - 1.0) > hyper.clip).mean(),
    )


def gradients(agent: Agent, batch: Batch, hyper: Hyperparameters) -> Kernels:
    """D loss / d (masked kernel) of the policy over the whole batch; removed weights have one too."""
    pruned = agent.pruned()

    def of_policy(policy: Params) -> Float[Array, ""]:
        return loss(trainable(pruned.replace(policy=policy)), pruned, batch, hyper)[0]

    return kernels(jax.grad(of_policy)(pruned.policy))


def budget(
    chosen: Chosen, hyper: Hyperparameters, progress: Scalar, budgets: Mapping[str, Scalar]
) -> Float[Array, ""] | float:
    """The eps of a regulariser when a share `progress` of the training is done; 0 for one without."""
    if not chosen.has_budget:
        return 0.0
    numbers = hyper.regularizers[chosen.name]
    return scheduled(chosen.schedule, numbers, progress, budgets.get(chosen.name, 0.0))


def regrown(agent: Agent, optimiser_state: optax.OptState, mask: Kernels) -> tuple[Agent, optax.OptState]:
    """The agent with another mask: weights that come back begin at 0, and so do their moments in Adam."""
    stays = jax.tree.map(lambda old, new: 1.0 - (new > old), masks.of(agent), mask)

    def cleared(node: Trainable | Array) -> Trainable | Array:
        if isinstance(node, Trainable):
            return node.replace(policy=masked(node.policy, stays))
        return node

    state = jax.tree.map(cleared, optimiser_state, is_leaf=lambda node: isinstance(node, Trainable))
    return agent.replace(policy=masked(agent.policy, stays), mask=mask), state


def optimiser(
    hyper: Hyperparameters, learning_rate: Float[Array, ""] | float
) -> optax.GradientTransformation:
    """Adam (eps 1e-5) behind a clip of the global gradient norm; both numbers are traced."""
    return optax.chain(
        optax.clip_by_global_norm(hyper.max_gradient_norm),
        optax.scale_by_adam(eps=1e-5),
        optax.scale(-learning_rate),
    )


def still(hyper: Hyperparameters, agent: Agent) -> optax.OptState:
    """The state of an optimiser that has not moved anything of the agent yet."""
    return optimiser(hyper, 0.0).init(cast(optax.Params, trainable(agent)))


def update(
    agent: Agent,
    optimiser_state: optax.OptState,
    batch: Batch,
    hyper: Hyperparameters,
    learning_rate: Float[Array, ""],
    key: PRNGKeyArray,
    *,
    epochs: int,
    minibatches: int,
    progress: tuple[Scalar, Scalar] = (0.0, 1.0),
    chosen: tuple[Chosen, ...] = (),
    budgets: Mapping[str, Scalar] = MappingProxyType({}),
) -> tuple[Agent, optax.OptState, Diagnostics]:
    """`epochs` passes over the batch in `minibatches` random parts each. Pruned weights stay as they are.

    progress: the shares of the training that are done before and after. chosen: the regularisers. budgets: of
    those that pace themselves.
    """
    size = batch.log_prob.shape[0]
    transform = optimiser(hyper, learning_rate)

    def terms(now: Scalar, key: PRNGKeyArray) -> tuple[tuple[Chosen, Moment], ...]:
        keys = jax.random.split(key, max(1, len(chosen)))
        return tuple(
            (each, Moment(budget(each, hyper, now, budgets), hyper.clip, key_of_it))
            for each, key_of_it in zip(chosen, keys, strict=False)
        )

    def one(
        carry: tuple[Trainable, optax.OptState], now: tuple[Int[Array, " row"], Scalar, PRNGKeyArray]
    ) -> tuple[tuple[Trainable, optax.OptState], Diagnostics]:
        (moved, state), (rows, done, key) = carry, now
        part = jax.tree.map(lambda array: array[rows], batch)
        gradient, diagnostics = jax.grad(loss, has_aux=True)(moved, agent, part, hyper, terms(done, key))
        updates, state = transform.update(gradient, state)
        step = cast(Trainable, updates)  # of the structure of its gradient, which optax's types do not say
        if agent.mask is not None:
            # Adam's momentum must not move a weight that is masked now.
            step = step.replace(policy=masked(step.policy, agent.mask))
        if agent.value_mask is not None:
            step = step.replace(value=masked(step.value, agent.value_mask))
        step = step.replace(value=jax.tree.map(lambda change: hyper.value_rate * change, step.value))
        return (jax.tree.map(jnp.add, moved, step), state), diagnostics

    rows = orders(key, epochs, size).reshape(epochs * minibatches, size // minibatches)
    # A stream of its own, so that members with and without regularisers meet the same minibatches.
    keys = jax.random.split(jax.random.fold_in(key, REGULARIZERS_TAG), len(rows))
    before, after = progress
    done = before + (after - before) * jnp.arange(len(rows)) / len(rows)
    (moved, optimiser_state), diagnostics = jax.lax.scan(
        one, (trainable(agent), optimiser_state), (rows, done, keys)
    )
    agent = agent.replace(policy=moved.policy, log_std=moved.log_std, value=moved.value)
    return agent, optimiser_state, jax.tree.map(jnp.mean, diagnostics)
