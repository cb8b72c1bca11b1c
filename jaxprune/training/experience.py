"""What a learner sees while it gathers experience, and what it makes of that: where regularisers step in."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks import Rule, Victim
from jaxprune.budget import Ball
from jaxprune.envs.api import Environment
from jaxprune.policy import Agent
from jaxprune.training import ppo
from jaxprune.training.adversary import Adversary, adversary_environment
from jaxprune.training.arms import Chosen
from jaxprune.training.batch import Batch, Transitions
from jaxprune.training.ppo import Hyperparameters, Scalar
from jaxprune.training.rollout import Show, Trajectory, Workers


def world(env: Environment, chosen: tuple[Chosen, ...], hyper: Hyperparameters) -> Environment:
    """Where the agent gathers experience: `env`, or what a regulariser makes of it.

    Raises SpecError, naming the task, where a regulariser cannot make anything of it.
    """
    for one in chosen:
        if one.regularizer.world is not None:
            env = one.regularizer.world(env, hyper.regularizers[one.name])
    return env


def shown(
    chosen: tuple[Chosen, ...],
    agent: Agent,
    hyper: Hyperparameters,
    progress: Scalar,
    budgets: Mapping[str, Scalar],
    adversary: Agent | None,
) -> Show | None:
    """How the agent is shown its observations; None where it sees the truth.

    adversary: of the regulariser that trains one; its actions are drawn from its policy.
    """
    for one in chosen:
        ball, victim = Ball(ppo.budget(one, hyper, progress, budgets)), Victim(agent)
        if one.regularizer.shows is not None:
            return _by_rule(one.regularizer.shows(), ball, victim)
        if one.regularizer.adversary is not None and adversary is not None:
            return _by_adversary(one.regularizer.adversary(), ball, victim, adversary)
    return None


def _by_rule(rule: Rule, ball: Ball, victim: Victim) -> Show:
    return lambda key, x: rule.perturb(key, victim, x, ball, ())[0]


def _by_adversary(rule: Adversary, ball: Ball, victim: Victim, adversary: Agent) -> Show:
    def show(key: PRNGKeyArray, x: Float[Array, " obs"]) -> Float[Array, " obs"]:
        draw_key, show_key = jax.random.split(key)
        return rule.show(show_key, victim, x, ball, adversary.distribution(x).sample(draw_key))

    return show


def with_adversary(chosen: tuple[Chosen, ...]) -> tuple[Chosen, Adversary] | None:
    """The regulariser that trains an adversary against the agent, and that adversary, if there is one."""
    for one in chosen:
        if one.regularizer.adversary is not None:
            return one, one.regularizer.adversary()
    return None


def against(env: Environment, agent: Agent, adversary: Adversary, eps: Scalar) -> Environment:
    """The world of that adversary: the agent draws its actions, as it does while it learns."""
    return adversary_environment(env, Victim(agent), Ball(eps), adversary, sampled=True)


def opponent_settings(chosen: Chosen, hyper: Hyperparameters) -> Hyperparameters:
    """The hyper-parameters of that adversary: the agent's, with its own step size and entropy bonus."""
    numbers = hyper.regularizers[chosen.name]
    return hyper.replace(
        learning_rate=hyper.learning_rate * numbers["adversary_rate"],
        entropy_weight=numbers["adversary_entropy"],
        regularizers={},
    )


def refreshed(workers: Workers, agent: Agent) -> Workers:
    """An adversary's workers, whose observations the agent's filter of today has normalised."""
    seen = jax.vmap(agent.normalise)(workers.state.physics.state.observation)
    return workers.replace(state=workers.state.replace(observation=seen))


def transitions(
    agent: Agent,
    trajectory: Trajectory,
    reward: Float[Array, "time env"],
    hyper: Hyperparameters,
    chosen: tuple[Chosen, ...],
    key: PRNGKeyArray,
) -> Transitions:
    """Every step with what it led to, arrays [T, N, ...]. reward: scaled.

    The value of a next state is that of what was shown there; at the end of an episode, and of the
    trajectory, where nothing was, that of the truth.
    """
    normalise = jax.vmap(jax.vmap(agent.normalise))
    x, x_next = normalise(trajectory.observation), normalise(trajectory.next_observation)
    s_hat, following = x, x_next
    if trajectory.s_hat is not None:
        s_hat = trajectory.s_hat
        goes_on = ~trajectory.finished[:-1, :, None]
        following = x_next.at[:-1].set(jnp.where(goes_on, s_hat[1:], x_next[:-1]))
    value = jax.vmap(jax.vmap(agent.state_value))
    v, v_next = value(s_hat), value(following)
    for one in chosen:
        if one.regularizer.next_value is not None:
            lowered = partial(one.regularizer.next_value, agent, hyper.regularizers[one.name])
            keys = jax.random.split(key, v_next.shape)
            v_next = jax.vmap(jax.vmap(lowered))(keys, following, v_next)
    return Transitions(
        x=x,
        s_hat=s_hat,
        action=trajectory.action,
        reward=reward,
        x_next=x_next,
        terminated=trajectory.terminated,
        value=v,
        next_value=jnp.where(trajectory.terminated, 0.0, v_next),
    )


def revalued(
    seen: Transitions,
    critics: Mapping[str, Any],
    hyper: Hyperparameters,
    chosen: tuple[Chosen, ...],
    progress: Scalar,
    budgets: Mapping[str, Scalar],
) -> Transitions:
    """The transitions [T, N] with the next values that the regularisers' critics put in their place."""
    for one in chosen:
        hook = one.regularizer.critic
        if hook is not None and hook.next_value is not None:
            eps = ppo.budget(one, hyper, progress, budgets)
            judged = jax.vmap(jax.vmap(partial(hook.next_value, critics[one.name], eps)))(seen)
            # A critic that has not learned enough lowers values also where nothing is allowed for.
            seen = seen.replace(next_value=jnp.where(eps > 0, judged, seen.next_value))
    return seen


def batch(seen: Transitions, trajectory: Trajectory, hyper: Hyperparameters) -> Batch:
    """What PPO learns from: advantages by generalised advantage estimation, of what the policy was shown."""
    # A next value holds already what an end is worth, which may be more or less than 0 to a critic.
    ends = jnp.zeros_like(trajectory.terminated)
    advantage = jax.vmap(ppo.gae, in_axes=(1, 1, 1, 1, 1, None, None), out_axes=1)(
        seen.reward,
        seen.value,
        seen.next_value,
        ends,
        trajectory.finished,
        hyper.discount,
        hyper.gae_lambda,
    )
    made = Batch(
        x=seen.s_hat,
        action=trajectory.action,
        log_prob=trajectory.log_prob,
        advantage=advantage,
        value_target=advantage + seen.value,
    )
    return flat(made)


Steps = TypeVar("Steps", Batch, Transitions)


def flat(steps: Steps) -> Steps:
    """Arrays [T, N, ...] as [T N, ...]."""
    return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), steps)
