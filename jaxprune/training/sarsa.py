"""Robust sarsa (RS): what the frozen victim's actions are worth, learned from its own episodes.

After Zhang et al., NeurIPS 2020 (arXiv 2003.08938). A transition is kept whole from the moment
it is made: next state and next action travel with it, so no shuffle can pair it with a stranger, and no
reset or time limit can. (Pairing neighbours of a shuffled batch learns the reward, and not Q.)
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxprune import streams
from jaxprune.attacks import Victim, ascend
from jaxprune.budget import Ball
from jaxprune.envs import Environment
from jaxprune.policy import Agent, Params, networks
from jaxprune.training import ppo
from jaxprune.training.rollout import rollout, start

LEAST_SPREAD = 0.1
"""Standard deviation of the explored actions, where the victim's own is smaller: it is never seen to do
anything but its mean otherwise, and nothing tells what another action is worth."""


class Smoothness(struct.PyTreeNode):
    """How flat Q shall be in the action: `weight` of the worst change within `eps` (l_inf, action units)."""

    eps: Float[Array, "*setting"] | float
    weight: Float[Array, "*setting"] | float


def grid(eps: tuple[float, ...], weight: tuple[float, ...]) -> Smoothness:
    """Every combination as leaves [setting]."""
    settings = [Smoothness(*numbers) for numbers in product(eps, weight)]
    return jax.tree.map(lambda *leaves: np.array(leaves, np.float32), *settings)


class Study(struct.PyTreeNode):
    """What shapes the program: how much is seen, and how long it is studied. All fields are static.

    environments x unroll transitions, `passes` over them in `minibatches` parts each. The defaults are 16,384
    transitions, as much as eight iterations of PPO see. Where an unroll ends before an episode, fewer
    environments go on to its end: what comes late is seen as often as what comes early.
    """

    environments: int = struct.field(pytree_node=False, default=32)
    unroll: int = struct.field(pytree_node=False, default=512)
    passes: int = struct.field(pytree_node=False, default=30)
    minibatches: int = struct.field(pytree_node=False, default=64)
    hidden: tuple[int, ...] = struct.field(pytree_node=False, default=(64, 64))
    learning_rate: float = struct.field(pytree_node=False, default=1e-3)
    discount: float = struct.field(pytree_node=False, default=0.99)

    def whole_episodes(self, horizon: int) -> tuple[int, int]:
        """(environments, steps of each): as many transitions, or a few less, in whole episodes.

        One environment and one episode at least, however long that is.

        >>> Study(environments=32, unroll=512).whole_episodes(1000)
        (16, 1024)
        """
        unrolls = -(-horizon // self.unroll)
        return max(1, self.environments // unrolls), unrolls * self.unroll


class Transitions(struct.PyTreeNode):
    """(s, a, r, s', a') of an agent, every array [n, ...]; a' is its draw at the true s'.

    x, x_next: normalised observations. reward: in standard deviations of the discounted return.
    mean_return: of the discounted return, in the same unit, one number.
    """

    x: Float[Array, "*n obs"]
    action: Float[Array, "*n act"] | Int[Array, "*n"]
    reward: Float[Array, "*n"]
    x_next: Float[Array, "*n obs"]
    action_next: Float[Array, "*n act"] | Int[Array, "*n"]
    terminated: Bool[Array, "*n"]
    mean_return: Float[Array, ""]


def collect(env: Environment, agent: Agent, study: Study, key: PRNGKeyArray) -> Transitions:
    """Clean episodes of the stochastic agent, its spread at least `LEAST_SPREAD`."""
    if agent.log_std is not None:
        agent = agent.replace(log_std=jnp.maximum(agent.log_std, np.log(LEAST_SPREAD)))
    start_key, rollout_key, next_key = jax.random.split(key, 3)
    environments, steps = study.whole_episodes(env.horizon)
    workers = start(env, start_key, environments)
    _, seen = rollout(env, agent, workers, rollout_key, steps)
    nothing = jnp.zeros_like(seen.reward)
    # with values of zero and lambda = 1, the advantage is the discounted return
    returns = jax.vmap(ppo.gae, in_axes=(1, 1, 1, 1, 1, None, None))(
        seen.reward, nothing, nothing, seen.terminated, seen.truncated, study.discount, 1.0
    )
    scale = returns.std() + 1e-8
    flat = jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), seen)
    x_next = jax.vmap(agent.normalise)(flat.next_observation)
    keys = jax.random.split(next_key, x_next.shape[0])
    return Transitions(
        x=jax.vmap(agent.normalise)(flat.observation),
        action=flat.action,
        reward=flat.reward / scale,
        x_next=x_next,
        action_next=jax.vmap(lambda x, key: agent.distribution(x).sample(key))(x_next, keys),
        terminated=flat.terminated,
        mean_return=returns.mean() / scale,
    )


def action_value(
    critic: Params, x: Float[Array, " obs"], action: Float[Array, " act"] | Int[Array, ""], activation: str
) -> Float[Array, ""]:
    """Q(s, a) of a critic such as `attacks.Sarsa` holds: on `concat(s, a)`, or one number per action."""
    if action.ndim == 0:
        return networks.apply(critic, x, activation)[action]
    return networks.apply(critic, jnp.concatenate([x, action]), activation)[0]


def learn(
    transitions: Transitions, actions: int, smoothness: Smoothness, study: Study, key: PRNGKeyArray
) -> Params:
    """One critic, in units of `Transitions.reward`; `actions` is the size of the action space.

    Every pass regresses on the targets `y = r + discount (1 - terminated) Q(s', a')` of the Q before it:
    `mean (Q(s, a) - y)^2 + weight mean max_{|a_hat - a| <= eps} (Q(s, a_hat) - Q(s, a))^2`. The maximum is
    sought by `attacks.ascend`, so it is an estimate from below (the published one is an interval bound).
    Discrete actions have no ball, and no second term.
    """
    discrete = jnp.issubdtype(transitions.action.dtype, jnp.integer)
    size = transitions.x.shape[-1]
    init_key, key = jax.random.split(key)
    inputs, outputs = (size, actions) if discrete else (size + actions, 1)
    critic = networks.init(init_key, inputs, (*study.hidden, outputs), "tanh", 0.01)
    # Q starts at the mean return: from zero, it would take 1 / (1 - discount) passes to get there.
    last = f"layer_{len(study.hidden)}"
    critic[last]["bias"] = critic[last]["bias"] + transitions.mean_return
    q = partial(action_value, activation="tanh")

    def change(critic: Params, x: Array, action: Array, other: Array) -> Float[Array, ""]:
        return (q(critic, x, other) - q(critic, x, action)) ** 2

    def worst_change(critic: Params, x: Array, action: Array, key: PRNGKeyArray) -> Float[Array, ""]:
        gain = partial(change, jax.lax.stop_gradient(critic), x, action)
        return change(critic, x, action, ascend(key, gain, action, Ball(smoothness.eps), steps=1))

    def loss(critic: Params, part: Transitions, target: Array, key: PRNGKeyArray) -> Float[Array, ""]:
        value = jax.vmap(partial(q, critic))(part.x, part.action)
        error = jnp.square(value - target).mean()
        if discrete:
            return error
        keys = jax.random.split(key, target.size)
        worst = jax.vmap(partial(worst_change, critic))(part.x, part.action, keys)
        return error + smoothness.weight * worst.mean()

    adam = optax.adam(study.learning_rate)
    count = transitions.reward.shape[0]

    def study_once(carry: tuple, key: PRNGKeyArray) -> tuple[tuple, None]:
        before, _ = carry
        following = jax.vmap(partial(q, before))(transitions.x_next, transitions.action_next)
        targets = transitions.reward + study.discount * jnp.where(transitions.terminated, 0.0, following)

        def step(carry: tuple, now: tuple) -> tuple[tuple, None]:
            (critic, state), (rows, key) = carry, now
            part = transitions.replace(x=transitions.x[rows], action=transitions.action[rows])
            slope = jax.grad(loss)(critic, part, targets[rows], key)
            update, state = adam.update(slope, state)
            return (optax.apply_updates(critic, update), state), None

        order_key, key = jax.random.split(key)
        # what does not fill the minibatches waits for another pass
        rows = jax.random.permutation(order_key, count)[: count - count % study.minibatches]
        rows = rows.reshape(study.minibatches, -1)
        return jax.lax.scan(step, carry, (rows, jax.random.split(key, study.minibatches)))[0], None

    keys = jax.random.split(key, study.passes)
    return jax.lax.scan(study_once, (critic, adam.init(critic)), keys)[0][0]


def train(
    env: Environment,
    victims: Victim,
    settings: Smoothness,
    study: Study,
    seed: Int[Array, ""] | int,
    kept: Callable[[int, Callable[[], Params]], Params] = lambda victim, make: make(),
) -> Params:
    """One critic for every victim and setting, leaves [victim, setting, ...].

    One victim after the other by one compiled program: their transitions would not fit a small memory, and
    there is nothing to gain.

    kept: given the number of a victim and what learns its critics, those critics.
    """
    count = jax.tree.leaves(victims)[0].shape[0]

    def of_victim(number: int) -> Params:
        victim = jax.tree.map(lambda leaf: leaf[number], victims)
        return kept(number, lambda: train_one(env, victim, settings, study, seed))

    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(of_victim, range(count)))


@partial(jax.jit, static_argnames=("env", "study"))
def train_one(
    env: Environment, victim: Victim, settings: Smoothness, study: Study, seed: Int[Array, ""] | int
) -> Params:
    """One critic for every setting, leaves [setting, ...], all of the same episodes of the victim."""
    collect_key, learn_key = jax.random.split(streams.key(seed, "critics"))
    keys = jax.random.split(learn_key, jnp.size(settings.eps))
    transitions = collect(env, victim.agent, study, collect_key)
    one = lambda setting, key: learn(transitions, env.action_space.size, setting, study, key)  # noqa: E731
    return jax.vmap(one)(settings, keys)
