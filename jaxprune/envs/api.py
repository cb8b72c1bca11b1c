"""What an environment is: two pure functions of one example. The caller batches them with `jax.vmap`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxprune.envs.shift import Shift, check_shift
from jaxprune.errors import SpecError

Action = Float[Array, " act"] | Int[Array, ""]


class EnvState(struct.PyTreeNode):
    """One environment in mid-episode.

    physics: what the engine carries (positions, velocities, ...), any pytree of arrays.
    observation: [obs], what an unattacked policy is shown, in raw units.
    time: number of steps since the reset.
    ended: the episode is over; a further step changes nothing and earns nothing.
    """

    physics: Any
    observation: Float[Array, " obs"]
    time: Int[Array, ""]
    ended: Bool[Array, ""]


class Transition(struct.PyTreeNode):
    """What one step yields.

    observation: [obs], the state the step led to, *before* any reset (the true final observation).
    terminated: the task ended there (its value is 0). truncated: the horizon cut it (its value is not 0).
    failed: the physics returned a number that is not finite; the episode then counts as terminated with
        reward 0 and the last finite observation.
    """

    observation: Float[Array, " obs"]
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    failed: Bool[Array, ""]


@dataclass(frozen=True)
class ActionSpace:
    """`size` continuous coordinates clipped to [low, high] by the environment, or `size` discrete choices."""

    size: int
    discrete: bool = False
    low: float = -1.0
    high: float = 1.0


@dataclass(frozen=True)
class Body:
    """What MuJoCo moves, as far as it takes to draw it: the file `xml`, and physics steps per action."""

    xml: str | Path
    frame_skip: int


@dataclass(frozen=True)
class Environment:
    """A task under a physics.

    reset: key -> EnvState, a fresh draw from the start distribution.
    step: (EnvState, action) -> (EnvState, Transition). No reset inside: see `step_or_reset`.
    horizon: steps after which an episode is truncated.
    reward_range: (lowest, highest) reward of one step where the task bounds it, else None.
    terminates: whether an episode can end before its horizon, by the task's rule or by failing physics; then
        0 belongs to the range of rewards. (An action that is not finite ends any episode.)
    charge: which action the reward's effort is charged for: "clipped" (to the action space) or "raw".
    published_eps: l_inf radius of the published tables, in the normalised space, if the task is in one.
    start_shifted: (key, Shift) -> EnvState, see `reset_under`; None where there is no body to shift.
    squashes: whether tanh stands before the actions, see `squashed`.
    body: what MuJoCo moves; `EnvState.physics` is then a `Motion`. None where it moves nothing.
    """

    task: str
    physics: str
    observation_size: int
    action_space: ActionSpace
    horizon: int
    reset: Callable[[PRNGKeyArray], EnvState]
    step: Callable[[EnvState, Action], tuple[EnvState, Transition]]
    reward_range: tuple[float, float] | None = None
    terminates: bool = True
    charge: str = "clipped"
    published_eps: float | None = None
    start_shifted: Callable[[PRNGKeyArray, Shift], EnvState] | None = None
    squashes: bool = False
    body: Body | None = None

    def in_words(self) -> str:
        """Task, physics, and whether tanh stands before the actions."""
        return f"{self.task}, physics {self.physics}" + ", actions squashed by tanh" * self.squashes

    def reset_under(self, key: PRNGKeyArray, shift: Shift) -> EnvState:
        """An episode from where `reset` starts with the same key, of a body that is shifted to its end.

        The state carries its shift, so that `step` is the same, and every episode of a batch may have
        another.

        Raises SpecError where nothing can be shifted, or the shift leaves no physics.
        """
        start = self._shiftable()
        check_shift(shift)
        return start(key, shift.broadcast_to())

    def check_shiftable(self) -> None:
        """Raise SpecError, naming the task, unless its dynamics can be shifted."""
        self._shiftable()

    def _shiftable(self) -> Callable[[PRNGKeyArray, Shift], EnvState]:
        if self.start_shifted is None:
            raise SpecError(
                f"shift: {self.task} on {self.physics} has no body whose dynamics could be shifted; "
                "shifts are for the tasks that native and mjx move"
            )
        return self.start_shifted


def step_or_reset(
    env: Environment, state: EnvState, action: Action, key: PRNGKeyArray
) -> tuple[EnvState, Transition]:
    """Take one step; where the episode ended, go on from a fresh reset drawn with `key`.

    The transition still holds the true final observation, so a truncated episode can be bootstrapped.
    """
    stepped, transition = env.step(state, action)
    done = transition.terminated | transition.truncated
    fresh = env.reset(key)
    return jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, stepped), transition
