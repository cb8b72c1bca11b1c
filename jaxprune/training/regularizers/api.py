"""What a regulariser is: a term of the loss that makes a policy hard to attack."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.policy import Agent
from jaxprune.training.batch import Batch

Leaves = Mapping[str, Float[Array, ""] | float]
"""The numbers of one regulariser, traced: they may differ between the members of one program."""


class Moment(NamedTuple):
    """Where in its training a loss is taken.

    progress: share of the training that is done, in [0, 1]. key: fresh for every minibatch.
    """

    progress: Float[Array, ""]
    key: PRNGKeyArray


@dataclass(frozen=True, eq=False)
class Regularizer:
    """A term that is added to the loss of PPO in every minibatch.

    name: in tables and on the command line. about: one line for help texts.
    leaves: each of its numbers, with its default.
    loss: (agent with its mask on, minibatch, leaves, moment) -> the term, its weight included.
    """

    name: str
    about: str
    leaves: Mapping[str, float]
    loss: Callable[[Agent, Batch, Leaves, Moment], Float[Array, ""]]
