"""What a regulariser is: whatever is done to the training of PPO so that a policy is hard to attack."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks import Rule
from jaxprune.envs.api import Environment
from jaxprune.policy import Agent
from jaxprune.training.adversary import Adversary
from jaxprune.training.batch import Batch, Transitions

Leaves = Mapping[str, Float[Array, ""] | float]
"""The numbers of one regulariser, traced: they may differ between the members of one program."""


class Moment(NamedTuple):
    """What a loss is told beside the minibatch.

    eps: the budget at this point of the training. clip: the clip range of PPO. key: fresh every time.
    """

    eps: Float[Array, ""] | float
    clip: Float[Array, ""] | float
    key: PRNGKeyArray


Loss = Callable[[Agent, Batch, Leaves, Moment], Float[Array, ""]]
NextValue = Callable[[Agent, Leaves, PRNGKeyArray, Float[Array, " obs"], Float[Array, ""]], Float[Array, ""]]
World = Callable[[Environment, Leaves], Environment]


class Sizes(NamedTuple):
    """What shapes a critic: numbers of features and actions, and widths of the hidden layers."""

    observation: int
    action: int
    discrete: bool
    hidden: tuple[int, ...]


class Critic(NamedTuple):
    """A critic that a regulariser learns beside PPO's own, iteration by iteration.

    start: (sizes, key) -> the critic, any pytree.
    learn: (critic, agent, transitions, discount, eps, key) -> the critic after an iteration.
    gain: (critic, batch, leaves, progress) -> the batch with other advantages.
    next_value: (critic, eps, one transition) -> the value to go on with in place of its next value, also
        where the task ended. Asked once the critic has learned from the iteration, where eps > 0.
    """

    start: Callable[[Sizes, PRNGKeyArray], Any]
    learn: Callable[..., Any]
    gain: Callable[[Any, Batch, Leaves, Float[Array, ""] | float], Batch] | None = None
    next_value: Callable[[Any, Float[Array, ""] | float, Transitions], Float[Array, ""]] | None = None


def by_eps(loss: Loss) -> Loss:
    """The derivative by its eps of a loss that can be differentiated by it."""

    def growth(agent: Agent, batch: Batch, leaves: Leaves, moment: Moment) -> Float[Array, ""]:
        return jax.grad(lambda eps: loss(agent, batch, leaves, moment._replace(eps=eps)))(moment.eps)

    return growth


@dataclass(frozen=True, eq=False)
class Regularizer:
    """One regulariser, as a user asks for it.

    name: in tables and on the command line. about: one line for help texts.
    leaves: each of its numbers, with its default; those of a budget (`schedule.BUDGET`) if it has an eps.
    least: the smallest value of those of its numbers for which it is not 0.
    loss: (agent with its mask on, minibatch, leaves, moment) -> a term of PPO's loss, its weight included.
    shows: makes the rule by which the agent is shown its observations while it gathers experience, within
        the ball of its budget; a rule that remembers nothing.
    next_value: (agent, leaves, fresh key, normalised next observation, its value) -> the value to go on with.
    adversary: makes the untrained adversary that is trained against the agent, iteration by iteration, and
        shows the agent its observations.
    critic: a further critic that is learned, and leads the policy as well.
    world: (environment, leaves) -> the environment in which the agent gathers experience, and so does its
        adversary; it is evaluated in its own.
    growth: (agent, batch, leaves, moment) -> the derivative of the weighted term by eps, for a budget that
        paces itself; None where there is no term that grows as eps^2 does, for such a budget would fall to 0
        or follow nothing.
    heads: the action distributions it is made for.
    schedule: how its budget grows, where a user says nothing.
    """

    name: str
    about: str
    leaves: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    loss: Loss | None = None
    shows: Callable[[], Rule] | None = None
    next_value: NextValue | None = None
    adversary: Callable[[], Adversary] | None = None
    critic: Critic | None = None
    world: World | None = None
    growth: Loss | None = None
    heads: tuple[str, ...] = ("gaussian", "categorical")
    schedule: str = "linear"
