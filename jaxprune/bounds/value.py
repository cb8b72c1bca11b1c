"""From distances between policies to return: what an adversary can cost at most.

With `tv_t` a bound on the total variation between the stochastic policy and itself under attack at the state
of step t, along *clean* episodes of that same stochastic policy, the performance difference lemma gives, for
every adversary within the ball,

    discounted:      J - J_attacked <= (r_high - r_low) / (1 - gamma)^2 * E_{s ~ d}[tv(s)]
    finite horizon:  J - J_attacked <= (r_high - r_low) * sum_{t < H} (H - t) E[tv_t].

Both are about the policy that draws its actions: a deterministic one, the mode, has a TV of 0 or 1 to itself,
and may lose far more than these numbers.

States of one episode depend on each other, episodes do not: each episode is first averaged to one number in
[0, `most`], and the confidence interval is over episodes. `most` is a bound on TV at any state whatever, so
that the interval shrinks with the ball.

A task that can terminate has absorbing states of reward 0, so its rewards must be taken to span 0 as well.
Whether it can is for the task to say: episodes that did not show it prove nothing.
"""

from math import floor, log
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxprune.errors import SpecError


class ValueGap(NamedTuple):
    """Upper bound on the return an adversary can take away.

    bound: in units of return; holds with the confidence asked for.
    vacuous: the bound is not below the span of possible returns, which any two policies satisfy.
    """

    bound: Float[Array, ""]
    vacuous: Bool[Array, ""]


def expected_tv_limit(
    tv: Float[Array, "episode time"],
    length: Int[Array, " episode"],
    *,
    discount: float,
    horizon: int,
    terminates: bool,
    most: Float[Array, ""] | float = 1.0,
    confidence: float = 0.95,
) -> Float[Array, ""]:
    """Upper confidence limit on `F = E_{s ~ d}[tv(s)]`, `d` the normalised discounted visitation.

    Args:
        tv: bound on TV at each state of independent clean episodes of the stochastic policy, in [0, 1].
        length: number of states in each episode; what lies beyond is ignored.
        discount: gamma, in [0, 1).
        horizon: steps after which the task cuts an episode. One that was cut, or that went on when the
            recording stopped, counts with `most` at the states beyond.
        terminates: whether the task can end an episode earlier.
        most: bound on TV at every state, visited or not, in [0, 1].
        confidence: probability, over the episodes, that the limit holds.

    Raises:
        SpecError: an argument outside its range.
    """
    if not 0 <= discount < 1:
        raise SpecError(
            f"discount: got {discount}, needs 0 <= discount < 1; use horizon_value_gap for no discount"
        )
    tv, recorded = _at_most(tv, horizon, most)
    powers = discount ** jnp.arange(recorded, dtype=tv.dtype)
    seen = jnp.sum(_inside(tv, length) * powers, axis=1) * (1 - discount)
    beyond = discount ** jnp.minimum(length, recorded).astype(tv.dtype) * most
    seen = seen + jnp.where(_unfinished(length, recorded, terminates), beyond, 0)
    return mean_upper_limit(seen, confidence, most)


def discounted_value_gap(
    tv: Float[Array, "episode time"],
    length: Int[Array, " episode"],
    *,
    discount: float,
    reward_low: float,
    reward_high: float,
    horizon: int,
    terminates: bool,
    most: Float[Array, ""] | float = 1.0,
    confidence: float = 0.95,
) -> ValueGap:
    """Bound on the loss of discounted return, of the task without its horizon.

    Args:
        tv: as in `expected_tv_limit`.
        length: likewise.
        discount: likewise.
        reward_low: least reward of a step. If the task terminates, 0 is included.
        reward_high: largest reward of a step. If the task terminates, 0 is included.
        horizon: as in `expected_tv_limit`.
        terminates: likewise.
        most: likewise.
        confidence: likewise.

    Raises:
        SpecError: an argument outside its range.
    """
    of_task = {"horizon": horizon, "terminates": terminates}
    expected = expected_tv_limit(tv, length, discount=discount, most=most, confidence=confidence, **of_task)
    span = _reward_span(reward_low, reward_high, terminates) / (1 - discount)
    bound = span / (1 - discount) * expected
    return ValueGap(bound, bound >= span)


def horizon_value_gap(
    tv: Float[Array, "episode time"],
    length: Int[Array, " episode"],
    *,
    reward_low: float,
    reward_high: float,
    horizon: int,
    terminates: bool,
    most: Float[Array, ""] | float = 1.0,
    confidence: float = 0.95,
) -> ValueGap:
    """Bound on the loss of undiscounted return over the `horizon` of the task, what tables print.

    Arguments as in `discounted_value_gap`, but that nothing lies beyond the horizon.

    Raises:
        SpecError: an argument outside its range.
    """
    tv, recorded = _at_most(tv, horizon, most)
    steps_left = horizon - jnp.arange(horizon, dtype=tv.dtype)
    weights = steps_left / jnp.sum(steps_left)
    seen = jnp.sum(_inside(tv, length) * weights[:recorded], axis=1)
    beyond = jnp.sum(weights[recorded:]) * most
    seen = seen + jnp.where(_unfinished(length, recorded, terminates), beyond, 0)
    span = _reward_span(reward_low, reward_high, terminates)
    bound = span * jnp.sum(steps_left) * mean_upper_limit(seen, confidence, most)
    return ValueGap(bound, bound >= span * horizon)


def mean_upper_limit(
    samples: Float[Array, " episode"], confidence: float, most: Float[Array, ""] | float = 1.0
) -> Float[Array, ""]:
    """Upper confidence limit for the mean of independent numbers in [0, `most`].

    The smaller of Hoeffding's and the empirical Bernstein limit, each at half the allowed error:
    `mean + c sqrt(log(2/a) / 2n)` and `mean + sqrt(2 V log(4/a) / n) + 7 c log(4/a) / (3 (n - 1))`, `c` being
    `most` and `a` one minus the confidence.

    Reference: Maurer and Pontil, Empirical Bernstein Bounds and Sample-Variance Penalization, COLT 2009.

    Raises:
        SpecError: confidence outside (0, 1), or too few episodes for a limit below `most` whatever they show,
            naming how many are needed.
    """
    count, needed = samples.size, episodes_for_a_limit(confidence)
    if count < needed:
        raise SpecError(
            f"episodes: got {count}, a limit of confidence {confidence:g} needs at least {needed} "
            "independent ones"
        )
    error = 1 - confidence
    mean, variance = jnp.mean(samples), jnp.var(samples, ddof=1)
    hoeffding = most * jnp.sqrt(jnp.log(2 / error) / (2 * count))
    log_term = jnp.log(4 / error)
    bernstein = jnp.sqrt(2 * variance * log_term / count) + 7 * most * log_term / (3 * (count - 1))
    return jnp.minimum(mean + jnp.minimum(hoeffding, bernstein), most)


def episodes_for_a_limit(confidence: float) -> int:
    """Fewest episodes with which `mean_upper_limit` can be below `most`, as Hoeffding's term must be.

    Raises:
        SpecError: confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise SpecError(f"confidence: got {confidence}, needs a probability between 0 and 1, e.g. 0.95")
    return max(2, floor(log(2 / (1 - confidence)) / 2) + 1)


def _at_most(
    tv: Float[Array, "episode time"], horizon: int, most: Float[Array, ""] | float
) -> tuple[Float[Array, "episode step"], int]:
    """The bounds within the horizon, none above the one that holds everywhere, and their number of steps."""
    if horizon < 1:
        raise SpecError(f"horizon: got {horizon}, needs at least 1 step")
    if tv.shape[1] < 1:
        raise SpecError("tv: got no step, needs at least 1")
    tv = jnp.minimum(tv[:, :horizon], most)
    return tv, tv.shape[1]


def _inside(tv: Float[Array, "episode step"], length: Int[Array, " episode"]) -> Float[Array, "episode step"]:
    """TV at the states of the episode, zero beyond its end."""
    return jnp.where(jnp.arange(tv.shape[1]) < length[:, None], tv, 0)


def _unfinished(length: Int[Array, " episode"], recorded: int, terminates: bool) -> Bool[Array, " episode"]:
    """Which episodes may have gone on after the last step that was recorded."""
    return (length >= recorded) | (not terminates)


def _reward_span(low: float, high: float, terminates: bool) -> float:
    """The span of rewards, with the 0 of an absorbing state if episodes can terminate."""
    if not low < high:
        raise SpecError(f"reward_low, reward_high: got {low} and {high}, needs reward_low < reward_high")
    return max(high, 0.0) - min(low, 0.0) if terminates else high - low
