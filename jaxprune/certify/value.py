"""From distances between policies to return: what an adversary can cost at most.

With `tv_t` a bound on the total variation between the policy and itself under attack at the state of step t,
along *clean* episodes, the performance difference lemma gives, for every adversary within the ball,

    discounted:      J - J_attacked <= (r_high - r_low) / (1 - gamma)^2 * E_{s ~ d}[tv(s)]
    finite horizon:  J - J_attacked <= (r_high - r_low) * sum_{t < H} (H - t) E[tv_t].

States of one episode depend on each other, episodes do not: each episode is first averaged to one number in
[0, 1], and the confidence interval is over episodes.

A task that can terminate has absorbing states of reward 0, so its rewards must be taken to span 0 as well.
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


def discounted_value_gap(
    tv: Float[Array, "episode time"],
    length: Int[Array, " episode"],
    *,
    discount: float,
    reward_low: float,
    reward_high: float,
    terminated: Bool[Array, " episode"],
    confidence: float = 0.95,
) -> ValueGap:
    """Bound on the loss of discounted return.

    Args:
        tv: bound on TV at each state of independent clean episodes, in [0, 1].
        length: number of states in each episode; what lies beyond is ignored.
        discount: gamma, in [0, 1).
        reward_low: least reward of a step. If any episode terminated, 0 is included.
        reward_high: largest reward of a step. If any episode terminated, 0 is included.
        terminated: whether the task ended the episode; otherwise it was cut, and the states beyond the cut
            count with TV 1.
        confidence: probability, over the episodes, that the bound holds.

    Raises:
        SpecError: an argument outside its range.
    """
    if not 0 <= discount < 1:
        raise SpecError(
            f"discount: got {discount}, needs 0 <= discount < 1; use horizon_value_gap for no discount"
        )
    powers = discount ** jnp.arange(tv.shape[1], dtype=tv.dtype)
    seen = jnp.sum(_inside(tv, length) * powers, axis=1) * (1 - discount)
    beyond = jnp.where(terminated, 0, discount ** length.astype(tv.dtype))
    low, high = _with_absorbing(reward_low, reward_high, jnp.any(terminated))
    span = (high - low) / (1 - discount)
    bound = span / (1 - discount) * mean_upper_limit(seen + beyond, confidence)
    return ValueGap(bound, bound >= span)


def horizon_value_gap(
    tv: Float[Array, "episode time"],
    length: Int[Array, " episode"],
    *,
    reward_low: float,
    reward_high: float,
    confidence: float = 0.95,
) -> ValueGap:
    """Bound on the loss of undiscounted return over `H = tv.shape[1]` steps, what tables print.

    Arguments as in `discounted_value_gap`; an episode shorter than H terminated.

    Raises:
        SpecError: an argument outside its range.
    """
    horizon = tv.shape[1]
    steps_left = horizon - jnp.arange(horizon, dtype=tv.dtype)
    weights = steps_left / jnp.sum(steps_left)
    low, high = _with_absorbing(reward_low, reward_high, jnp.any(length < horizon))
    mean = mean_upper_limit(jnp.sum(_inside(tv, length) * weights, axis=1), confidence)
    bound = (high - low) * jnp.sum(steps_left) * mean
    return ValueGap(bound, bound >= (high - low) * horizon)


def mean_upper_limit(samples: Float[Array, " episode"], confidence: float) -> Float[Array, ""]:
    """Upper confidence limit for the mean of independent numbers in [0, 1].

    The smaller of Hoeffding's and the empirical Bernstein limit, each at half the allowed error:
    `mean + sqrt(log(2/a) / 2n)` and `mean + sqrt(2 V log(4/a) / n) + 7 log(4/a) / (3 (n - 1))`.

    Reference: Maurer and Pontil, Empirical Bernstein Bounds and Sample-Variance Penalization, COLT 2009.

    Raises:
        SpecError: confidence outside (0, 1), or too few episodes for a limit below 1 whatever they show,
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
    hoeffding = jnp.sqrt(jnp.log(2 / error) / (2 * count))
    log_term = jnp.log(4 / error)
    bernstein = jnp.sqrt(2 * variance * log_term / count) + 7 * log_term / (3 * (count - 1))
    return jnp.minimum(mean + jnp.minimum(hoeffding, bernstein), 1)


def episodes_for_a_limit(confidence: float) -> int:
    """Fewest episodes with which `mean_upper_limit` can be below 1: Hoeffding's term must be, two at least.

    Raises:
        SpecError: confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise SpecError(f"confidence: got {confidence}, needs a probability between 0 and 1, e.g. 0.95")
    return max(2, floor(log(2 / (1 - confidence)) / 2) + 1)


def _inside(tv: Float[Array, "episode time"], length: Int[Array, " episode"]) -> Float[Array, "episode time"]:
    """TV at the states of the episode, zero beyond its end."""
    return jnp.where(jnp.arange(tv.shape[1]) < length[:, None], tv, 0)


def _with_absorbing(
    low: float, high: float, terminates: Bool[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The span of rewards, with the 0 of an absorbing state if episodes can terminate."""
    if not low < high:
        raise SpecError(f"reward_low, reward_high: got {low} and {high}, needs reward_low < reward_high")
    return jnp.where(terminates, min(low, 0.0), low), jnp.where(terminates, max(high, 0.0), high)
