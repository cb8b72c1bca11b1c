"""An adversary's world: an environment whose agent is the victim, seen from the other side.

To the adversary, the victim is a part of the environment. So what trains a policy trains an adversary: PPO
on `adversary_environment`, with the state-adversarial MDP of Zhang et al. (NeurIPS 2020, arXiv 2003.08938)
behind it. Victims and budgets may be traced, and differ between the members of one program.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Key, PRNGKeyArray

from jaxprune.attacks import Rule, Victim
from jaxprune.budget import Ball
from jaxprune.envs.api import ActionSpace, Environment, EnvState, Transition
from jaxprune.policy import Params


@runtime_checkable
class Adversary(Rule, Protocol):
    """A rule whose network is learned: its action, a vector, decides which point is shown."""

    network: Params | None

    def action_size(self, observation_size: int, action_size: int) -> int:
        """Length of its action, against a victim of these sizes."""
        ...

    def show(
        self,
        key: PRNGKeyArray,
        victim: Victim,
        x: Float[Array, " obs"],
        ball: Ball,
        action: Float[Array, " out"],
    ) -> Float[Array, " obs"]:
        """The point of the ball that this action shows."""
        ...

    def replace(self, **overrides: Any) -> "Adversary":
        """The same with other fields, as every pytree has it."""
        ...


class Exchange(struct.PyTreeNode):
    """What goes on behind the adversary's back.

    state: of the victim's environment. key: the stream that `Adversary.show` draws from. It goes on after
        the end of an episode, when nothing of it is seen any more.
    """

    state: EnvState
    key: Key[Array, "*batch"]


VICTIM_TAG = np.uint32(2**31 + 3)
"""Sets the stream of a sampling victim's actions apart, see `streams`."""


def adversary_environment(
    env: Environment, victim: Victim, ball: Ball, adversary: Adversary, *, sampled: bool = False
) -> Environment:
    """The environment an adversary acts in: perturb, let the victim act, step `env`.

    The victim takes its most likely action, or with `sampled` one drawn from its distribution.

    Its observation is the victim's true normalised one [obs], whatever the space of the attack. Its action is
    `adversary`'s, unbounded. Its reward is the negated reward of `env`; its episodes end where those of
    `env` do.
    """

    def look(state: EnvState, key: PRNGKeyArray) -> EnvState:
        return EnvState(
            Exchange(state, key), victim.agent.normalise(state.observation), state.time, state.ended
        )

    def reset(key: PRNGKeyArray) -> EnvState:
        state_key, key = jax.random.split(key)
        return look(env.reset(state_key), key)

    def step(now: EnvState, action: Float[Array, " out"]) -> tuple[EnvState, Transition]:
        before = now.physics.state
        show_key, key = jax.random.split(now.physics.key)
        x = victim.to_space(before.observation)
        s_hat = adversary.show(show_key, victim, x, ball, action)
        policy = victim.distribution(s_hat)
        taken = policy.sample(jax.random.fold_in(show_key, VICTIM_TAG)) if sampled else policy.mode()
        state, transition = env.step(before, taken)
        return look(state, key), transition.replace(
            observation=victim.agent.normalise(transition.observation), reward=-transition.reward
        )

    return Environment(
        task=f"adversary of {env.task}",
        physics=env.physics,
        observation_size=env.observation_size,
        action_space=ActionSpace(adversary.action_size(env.observation_size, env.action_space.size)),
        horizon=env.horizon,
        reset=reset,
        step=step,
        reward_range=env.reward_range and (-env.reward_range[1], -env.reward_range[0]),
        terminates=env.terminates,
        charge=env.charge,
    )
