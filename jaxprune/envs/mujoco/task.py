"""What a task of MuJoCo is: a body, and pure functions of its motion."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jaxprune.envs.shift import Shift

HORIZON = 1000
"""Steps per episode, as Gymnasium has it."""

CONTACT_FORCES = "cfrc_ext"
"""The one reading that `mj_step` leaves to a separate call, `mj_rnePostConstraint`."""


class Motion(struct.PyTreeNode):
    """What a task may look at.

    qpos: [nq] generalised positions (m, rad). qvel: [nv] generalised velocities (m/s, rad/s).
    readings: further fields of MuJoCo's `mjData`, by name, in the shapes they have there. After a step they
        describe the last state that the integrator evaluated, one substep behind qpos and qvel: so it is in
        MuJoCo, and so Gymnasium reports them.
    shift: how the body of this episode differs from the task's; None where it is the task's.
    """

    qpos: Float[Array, " nq"]
    qvel: Float[Array, " nv"]
    readings: dict[str, Float[Array, "*reading"]]
    shift: Shift | None = None


Noise = Callable[[PRNGKeyArray, tuple[int, ...]], Float[Array, " coordinate"]]


def never(after: Motion) -> Bool[Array, ""]:
    """The task ends no episode."""
    return jnp.zeros((), bool)


@dataclass(frozen=True)
class MujocoTask:
    """What is controlled and what for.

    name, about: see `envs.Task`.
    xml: the body: an absolute path; or a file in the folder of the module in which `observe` is written, else
        one among Gymnasium's MuJoCo assets.
    frame_skip: physics steps per action.
    position_noise, velocity_noise: (key, shape) -> what a reset adds to the body at rest, see `uniform` and
        `normal`.
    observe: Motion -> [obs].
    reward: (Motion before, Motion after, action) -> [], what the step earns before its effort is charged. The
        action is the one that effort is charged for: clipped, unless raw ones are asked for.
    terminate: Motion -> [], whether the task ends there.
    effort: a step costs `effort * sum_i action_i^2`; 0 where the task charges nothing.
    action_limit: actions are clipped to [-action_limit, action_limit]; None for the range that the file gives
        all its actuators.
    readings: the fields of `mjData` that these functions read.
    horizon: steps after which an episode is truncated.
    published_eps: l_inf radius of the published tables, in the normalised space.
    mjx_iterations, mjx_ls_iterations: limits that MJX's constraint solver and its line search get, as low as
        the agreement with MuJoCo's C engine allows (benchmarks/env_agreement.py); None for the file's. The
        solver stops by itself, but in a batch its every iteration pays for the whole line search.
    """

    name: str
    about: str
    xml: str | Path
    frame_skip: int
    position_noise: Noise
    velocity_noise: Noise
    observe: Callable[[Motion], Float[Array, " obs"]]
    reward: Callable[[Motion, Motion, Float[Array, " act"]], Float[Array, ""]]
    terminate: Callable[[Motion], Bool[Array, ""]] = never
    effort: float = 0.0
    action_limit: float | None = None
    readings: tuple[str, ...] = ()
    horizon: int = HORIZON
    published_eps: float | None = None
    mjx_iterations: int | None = None
    mjx_ls_iterations: int | None = None


def uniform(scale: float) -> Noise:
    """Noise that is uniform in [-scale, scale]."""
    return partial(jax.random.uniform, minval=-scale, maxval=scale)


def normal(scale: float) -> Noise:
    """Gaussian noise with standard deviation `scale`."""
    return lambda key, shape: scale * jax.random.normal(key, shape)


def inside(low: float, value: Float[Array, "*any"], high: float) -> Bool[Array, ""]:
    """Whether every number is within the open interval."""
    return ((low < value) & (value < high)).all()


def always(after: Motion) -> Bool[Array, ""]:
    """Whatever happens."""
    return jnp.ones((), bool)


def unless(healthy: Callable[[Motion], Bool[Array, ""]]) -> Callable[[Motion], Bool[Array, ""]]:
    """The task ends where the body is not healthy."""
    return lambda after: ~healthy(after)


def speed(before: Float[Array, ""], after: Float[Array, ""], period: float) -> Float[Array, ""]:
    """Mean forward speed in m/s over a control period of `period` seconds."""
    return (after - before) / period
