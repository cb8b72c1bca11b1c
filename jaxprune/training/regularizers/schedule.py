"""How the budget of a regulariser grows over the training."""

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

Share = Float[Array, ""] | float

BUDGET = {"eps": math.nan, "start": 0.0, "ramp": 0.75, "pace": 0.05, "pull": 0.5}
"""The numbers of a budget. eps: l_inf radius in normalised units, at the end; left out, the published one of
the task. start, ramp: the shares of the training until which a growing budget is 0, and after which it is
whole. pace, pull: see `paced`."""

MIDDLE = 0.25
"""Where the smooth schedule goes from its quartic to its straight part, as a share of the ramp."""


def fixed(done: Share) -> Float[Array, ""]:
    """The whole budget from the start of the ramp."""
    return jnp.where(jnp.asarray(done) >= 0, 1.0, 0.0)


def linear(done: Share) -> Float[Array, ""]:
    """In proportion to the share of the ramp that is done."""
    return jnp.clip(done, 0.0, 1.0)


def smooth(done: Share) -> Float[Array, ""]:
    """`c t^4` up to `MIDDLE` and a straight line from there to 1, which meet with the same slope.

    With m = MIDDLE, `c = 1 / (m^4 + 4 m^3 (1 - m))`. After auto_LiRPA's schedule, as RADIAL used it.
    """
    t, m = jnp.clip(done, 0.0, 1.0), MIDDLE
    scale = 1.0 / (m**4 + 4 * m**3 * (1 - m))
    return scale * jnp.where(t < m, t**4, m**4 + 4 * m**3 * (t - m))


SCHEDULES: dict[str, Callable[[Share], Float[Array, ""]]] = {
    "fixed": fixed,
    "linear": linear,
    "smooth": smooth,
}
"""Share of the ramp that is done -> share of the budget."""

SELF_PACED = "self-paced"
"""The budget of a member follows from how its own term grows, see `paced`."""

NAMES = (*SCHEDULES, SELF_PACED)

UNUSED = dict.fromkeys(SCHEDULES, ("pace", "pull")) | {SELF_PACED: ("start", "ramp")}
"""The numbers of a budget of which a schedule makes no use."""


def scheduled(schedule: str, numbers: Mapping[str, Share], progress: Share, carried: Share) -> Share:
    """The budget when a share `progress` of the training is done; `carried`: the self-paced one."""
    if schedule == SELF_PACED:
        return carried
    ramp = jnp.maximum(numbers["ramp"] - numbers["start"], 1e-6)
    return numbers["eps"] * SCHEDULES[schedule]((progress - numbers["start"]) / ramp)


SMALLEST_SHARE = 1e-6
"""Of the target: a smaller budget grows as this one would, so that 0 divides by nothing."""


def paced(
    eps: Float[Array, ""], growth: Float[Array, ""], target: Share, pace: Share, pull: Share
) -> Float[Array, ""]:
    """The budget of the next iteration, a step of `pace` down `term + pull (eps - target)^2`.

    It is at most the target, and

        (eps + 2 pace pull target) / (1 + pace (growth / eps + 2 pull))

    `growth` is the derivative of the regulariser's term by eps, which for a term `c eps^2 / 2` is `c eps`.
    There the step is that of implicit gradient descent, so that it approaches its fixed point
    `2 pull target / (2 pull + c)` from one side, however large c and the pace are, and is never 0. (An
    explicit step jumps between 0 and somewhere above as soon as `pace (c + 2 pull) > 2`.)
    """
    curvature = jnp.maximum(growth, 0.0) / jnp.maximum(eps, SMALLEST_SHARE * target)
    onward = (eps + 2 * pace * pull * target) / (1.0 + pace * (curvature + 2 * pull))
    return jnp.minimum(jnp.where(jnp.asarray(target) > 0, onward, 0.0), target)
