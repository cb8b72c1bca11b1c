"""Experience: one member acts in its environments for a fixed number of steps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from jaxprune.envs.api import Environment, EnvState, Transition, step_or_reset
from jaxprune.policy import Agent


class Workers(struct.PyTreeNode):
    """The environments of one member in mid-episode, with what their running episodes have brought."""

    state: EnvState
    episode_return: Float[Array, "*batch env"]
    episode_length: Int[Array, "*batch env"]


class Trajectory(struct.PyTreeNode):
    """`T` steps of `N` environments, every array [T, N, ...].

    observation, next_observation: raw units; `next_observation` is the true one, before any reset.
    log_prob: of the action under the acting policy. finished: an episode ended here, with
    `episode_return` (undiscounted, raw) and `episode_length`. s_hat: the normalised observation that the
    policy was shown; None where it saw the truth.
    """

    observation: Float[Array, "*batch env obs"]
    action: Float[Array, "*batch env act"] | Int[Array, "*batch env"]
    log_prob: Float[Array, "*batch env"]
    reward: Float[Array, "*batch env"]
    next_observation: Float[Array, "*batch env obs"]
    terminated: Bool[Array, "*batch env"]
    truncated: Bool[Array, "*batch env"]
    failed: Bool[Array, "*batch env"]
    episode_return: Float[Array, "*batch env"]
    episode_length: Int[Array, "*batch env"]
    s_hat: Float[Array, "*batch env obs"] | None = None

    @property
    def finished(self) -> Bool[Array, "*batch env"]:
        """Where an episode ended, for whichever reason."""
        return self.terminated | self.truncated


def start(env: Environment, key: PRNGKeyArray, count: int) -> Workers:
    """`count` environments, freshly reset."""
    state = jax.vmap(env.reset)(jax.random.split(key, count))
    return Workers(state, jnp.zeros(count), jnp.zeros(count, jnp.int32))


Show = Callable[[PRNGKeyArray, Float[Array, " obs"]], Float[Array, " obs"]]
"""(key, normalised observation) -> what the policy is shown in its place."""

SHOWN_TAG = np.uint32(2**31 + 2)
"""Sets the stream of what is shown apart from that of the actions, see `streams`."""


def rollout(
    env: Environment,
    agent: Agent,
    workers: Workers,
    key: PRNGKeyArray,
    length: int,
    show: Show | None = None,
) -> tuple[Workers, Trajectory]:
    """Let the stochastic policy act for `length` steps in every environment, resetting where needed.

    show: an adversary between the environment and the policy; None lets the policy see the truth.
    """
    count = workers.episode_length.shape[0]

    def one(
        state: EnvState, action_key: PRNGKeyArray, reset_key: PRNGKeyArray
    ) -> tuple[EnvState, tuple[Array, Array, Transition, Array | None]]:
        s_hat = agent.normalise(state.observation)
        if show is not None:
            s_hat = show(jax.random.fold_in(action_key, SHOWN_TAG), s_hat)
        policy = agent.distribution(s_hat)
        action = policy.sample(action_key)
        after, transition = step_or_reset(env, state, action, reset_key)
        return after, (action, policy.log_prob(action), transition, None if show is None else s_hat)

    def step(workers: Workers, keys: Key[Array, "2 env"]) -> tuple[Workers, Trajectory]:
        before = workers.state.observation
        state, (action, log_prob, transition, s_hat) = jax.vmap(one)(workers.state, keys[0], keys[1])
        episode_return = workers.episode_return + transition.reward
        episode_length = workers.episode_length + 1
        done = transition.terminated | transition.truncated
        after = Workers(state, jnp.where(done, 0.0, episode_return), jnp.where(done, 0, episode_length))
        return after, Trajectory(
            observation=before,
            action=action,
            log_prob=log_prob,
            reward=transition.reward,
            next_observation=transition.observation,
            terminated=transition.terminated,
            truncated=transition.truncated,
            failed=transition.failed,
            episode_return=episode_return,
            episode_length=episode_length,
            s_hat=s_hat,
        )

    return jax.lax.scan(step, workers, jax.random.split(key, (length, 2, count)))
