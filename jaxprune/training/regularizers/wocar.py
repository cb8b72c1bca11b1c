"""WocaR: a second critic learns what the worst attack would leave, and the policy is led by it as well."""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxprune.bounds import interval_box
from jaxprune.policy import Agent, Params, layers, networks
from jaxprune.training.batch import Batch, Transitions
from jaxprune.training.regularizers import state_action
from jaxprune.training.regularizers.api import Critic, Leaves, Regularizer, Sizes
from jaxprune.training.regularizers.sa_sgld import growth, loss
from jaxprune.training.regularizers.schedule import BUDGET, linear
from jaxprune.training.regularizers.state_action import value

STEPS = 10
"""Sign steps to the worst action of a box."""

LEARNING_RATE, FOLLOWING = 1e-3, 0.01
"""Of the critic, and the share by which its slow copy follows it after every minibatch."""


class WorstCritic(struct.PyTreeNode):
    """`Q_w(x, a)`, the value under the worst attack on the policy: as it is learned, and a slow copy."""

    fast: Params
    slow: Params
    optimiser_state: optax.OptState


_ADAM = optax.adam(LEARNING_RATE)


def start(sizes: Sizes, key: PRNGKeyArray) -> WorstCritic:
    """A critic that has learned nothing."""
    params = state_action.start(sizes, key)
    return WorstCritic(params, params, _ADAM.init(params))


def worst_action(
    params: Params, agent: Agent, x: Float[Array, " obs"], eps: Float[Array, ""] | float
) -> Float[Array, " act"] | Int[Array, ""]:
    """Of the actions the policy may be brought to within the ball, by intervals, one that Q_w likes least.

    Gaussian: in the box of its mean, by `STEPS` sign steps from what it does at x. Categorical: among the
    actions whose largest logit is not below the least logit of another.
    """
    change, output = (
        interval_box(layers(agent.pruned().policy), x, eps, activation=agent.activation),
        agent.output(x),
    )
    lower, upper = output + change.lower, output + change.upper
    if agent.log_std is None:
        reachable = upper >= jnp.max(lower)
        return jnp.argmin(jnp.where(reachable, networks.apply(params, x, "tanh"), jnp.inf))

    def step(_: Array, action: Float[Array, " act"]) -> Float[Array, " act"]:
        slope = jax.grad(lambda a: value(params, x, a))(action)
        return jnp.clip(action - (upper - lower) / STEPS * jnp.sign(slope), lower, upper)

    return jax.lax.fori_loop(0, STEPS, step, output)


def learn(
    critic: WorstCritic,
    agent: Agent,
    seen: Transitions,
    discount: Float[Array, ""] | float,
    eps: Float[Array, ""] | float,
    key: PRNGKeyArray,
) -> WorstCritic:
    """Regress on `y = r + discount (1 - terminated) Q_slow(x', worst action at x')`."""

    def error(params: Params, slow: Params, part: Transitions) -> Float[Array, ""]:
        worst = jax.vmap(lambda x: worst_action(jax.lax.stop_gradient(params), agent, x, eps))(part.x_next)
        following = jax.vmap(lambda x, a: value(slow, x, a))(part.x_next, worst)
        target = part.reward + discount * jnp.where(part.terminated, 0.0, following)
        return jnp.square(jax.vmap(lambda x, a: value(params, x, a))(part.x, part.action) - target).mean()

    def step(now: WorstCritic, part: Transitions) -> WorstCritic:
        slope = jax.grad(error)(now.fast, now.slow, part)
        update, state = _ADAM.update(slope, now.optimiser_state)
        fast = jax.tree.map(jnp.add, now.fast, update)
        slow = jax.tree.map(lambda s, f: s + FOLLOWING * (f - s), now.slow, fast)
        return WorstCritic(fast, slow, state)

    return state_action.taught(step, critic, seen, key)


def gain(critic: WorstCritic, batch: Batch, leaves: Leaves, progress: Float[Array, ""] | float) -> Batch:
    """The batch with `A + w std(A) Q` for its advantage, Q being `Q_w(x, a)` standardised over it.

    So both count alike once PPO standardises the advantages. w grows linearly to `weight` over the training.
    """
    worst = jax.vmap(lambda x, action: value(critic.slow, x, action))(batch.x, batch.action)
    standard = (worst - worst.mean()) / (worst.std() + 1e-8)
    weight = leaves["weight"] * linear(progress)
    return batch.replace(advantage=batch.advantage + weight * batch.advantage.std() * standard)


WOCAR = Regularizer(
    "wocar",
    "WocaR: a critic of the worst attack beside PPO's own, with SA's regulariser",
    {"kappa": 0.1, "detach_std": 0.0, "weight": 0.8, **BUDGET},
    loss,
    critic=Critic(start, learn, gain),
    growth=growth,
)
"""Liang et al., NeurIPS 2022 (arXiv 2210.05927), with a sound box at the budget of the moment. The released
code has a box of its own that misses the clean action, at a fixed eps."""
