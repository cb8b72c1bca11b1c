"""What attacks on single steps can do to the return of a whole episode, when the policy draws its actions.

At every state s_t that an episode visits let D_t be a *shift bound*: no s_hat in the ball around s_t moves
the action's distribution by more than D_t. For a Gaussian policy that is
`D_t >= max ||Sigma^{-1/2} (mu(s_hat) - mu(s_t))||_2`, any sound local bound; for a softmax policy it is
`categorical_shift_bound`. An attacked episode is then the clean process whose noise is shifted, at each step
by at most D_t, in a way that may depend on all that happened before; clipping the action changes nothing. An
episode *spends* `sum_t D_t^2`. All episodes here are clean ones, of the policy that draws its actions: those
of its mode visit other states and return other sums.

**KL gap.** By the chain rule `KL(clean || attacked) = E_clean sum_t KL_t <= E_clean sum_t D_t^2 / 2`, for any
policy with bounds on KL_t. No event changes its probability by more than the total variation, which is at
most `sqrt(1 - exp(-KL))` (Bretagnolle and Huber) and at most `sqrt(KL / 2)` (Pinsker), and the mean of a
return within a span by no more than the span times it. Total variation itself adds up over the steps.

**Filter.** For every threshold and every B,

    P_attacked[return >= tau] >= Phi(Phi^{-1}(P_clean[return >= tau and spent <= B^2]) - B).

Proof. Let the adversary stop before the step whose square would bring the sum over B^2. On the event
`spent <= B^2` it never stops, so the attacked probability is at least that of the event under the stopped
adversary. Its squares sum to at most B^2 surely, and no such adaptive shift is worse for an event than one
constant shift of size B is for a half-space of the same probability (Kumar, Levine and Feizi 2022; fully
adaptive Gaussian composition, Smith and Thakurta 2022). The mean follows by integrating over thresholds, with
episodes that spend more counted as the lowest return.

**Prefix budgets.** Let G_k be the rewards of block k of the steps and C_k the squares of all steps up to the
last one of the block. The action at step t is drawn at s_t under the shift of s_t and earns r_t, so the
rewards of block k depend on the shifts of exactly those steps, the block's last one included, and on no
later one. The process that ends with the block is an episode that returns G_k and spends C_k; the filter
holds for it, with a B_k of its own:

    E_attacked sum_k max(G_k, lowest_k) >= sum_k bound(G_k, C_k, B_k).

Early rewards pay for few shifts. One block is the plain filter.

They need no share of the error each: see `tangent`, where means are certified. What B is chosen on must be
other episodes than those it is used with: `chosen_mean` and `chosen_probability` take both.

References: Kumar, Levine and Feizi, Policy Smoothing for Provably Robust Reinforcement Learning, ICLR 2022.
Smith and Thakurta, Fully Adaptive Composition for Gaussian Differential Privacy, 2022,
https://arxiv.org/abs/2210.17520. Bretagnolle and Huber, Estimation des densites: risque minimax, 1979.
Related certificates: ReCePS (https://arxiv.org/abs/2312.06436), S-PPO (https://arxiv.org/abs/2406.18062),
CAMP (https://arxiv.org/abs/2501.17667).
"""

from math import expm1, inf, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxprune.bounds.band import clopper_pearson, local_level, survival_limits
from jaxprune.bounds.smoothing import attacked_mean, attacked_probability, certified_return_probability
from jaxprune.errors import SpecError

BUDGETS = 33
"""How many budgets are tried, from the smallest that an episode spent to the largest."""


class Episodes(NamedTuple):
    """What independent clean episodes of the policy returned and spent, in one block or several.

    returns: sum of the rewards of each block; 0 after the episode's end. spent: `sum D_t^2` of all steps up
    to the last one of each block.
    """

    returns: Float[np.ndarray, "episode block"]
    spent: Float[np.ndarray, "episode block"]


class Chosen(NamedTuple):
    """bound: lower bound under attack. budgets: the B of each block that it was computed with."""

    bound: float
    budgets: Float[np.ndarray, " block"]


def in_blocks(
    rewards: Float[np.ndarray, "episode time"],
    shifts: Float[np.ndarray, "episode time"],
    length: Int[np.ndarray, " episode"],
    *,
    ends: Int[np.ndarray, " block"],
) -> Episodes:
    """Whole episodes cut into blocks of steps.

    Args:
        rewards: r_t of each step.
        shifts: D_t of the state in which each step's action is drawn.
        length: number of steps of each episode; what lies beyond is ignored.
        ends: number of steps up to the end of each block, ascending; the last is the task's horizon, to which
            the recording must reach.

    Raises:
        SpecError: ends that do not ascend to the number of steps recorded.
    """
    steps = rewards.shape[1]
    if not (ends.size and ends[0] > 0 and np.all(np.diff(ends) > 0) and ends[-1] == steps):
        raise SpecError(
            f"ends: got {ends.tolist()}, needs ascending numbers of steps up to the {steps} recorded"
        )
    played = np.arange(steps) < length[:, None]
    earned = np.where(played, rewards, 0.0).astype(float)
    squares = np.where(played, shifts, 0.0).astype(float) ** 2
    starts = np.append(0, ends[:-1])
    return Episodes(np.add.reduceat(earned, starts, axis=1), np.cumsum(squares, axis=1)[:, ends - 1])


def kl_gap(
    divergence: Float[np.ndarray, " episode"],
    *,
    span: float,
    cap: float,
    most: float = inf,
    confidence: float = 0.95,
) -> float:
    """Upper bound on the loss of mean return, `span sqrt(1 - exp(-KL))` or less; below the span for any KL.

    An adversary that stops before `cap` is exceeded loses no more than `span` times the probability that it
    stops, so that one episode that spends without measure does not decide the limit on the mean.

    Args:
        divergence: `sum_t KL_t` of each clean episode, bounds in nats: `D_t^2 / 2` for Gaussian policies,
            `categorical_kl_bound` for softmax policies.
        span: the largest minus the least return an episode can have.
        cap: where the adversary is stopped; to be chosen on other episodes.
        most: bound on the divergence of every episode there is, where one is known.
        confidence: probability, over the episodes, that the bound holds. Half of the error goes to the
            probability of stopping, none where `most` is within the cap.

    Raises:
        SpecError: no episode, an unknown or infinite span, a cap that is not a positive number, a negative
            divergence, or a confidence outside (0, 1).
    """
    if not 0 < span < inf:
        raise SpecError(f"span: got {span}, needs the finite, positive span of the returns of the task")
    stop = min(cap, most)
    if not (cap > 0 and 0 <= stop < inf):
        raise SpecError(f"cap: got {cap}, needs a positive number, finite where most is {most}")
    _check_spent(divergence, "divergence")
    count, error = divergence.size, 1 - confidence
    stops = 0.0
    if stop < most:
        error = error / 2
        kept = int(np.sum(divergence <= stop))
        stops = 1 - float(clopper_pearson(np.array(kept), count, error))
    unspent = np.sort(stop - np.minimum(divergence, stop))
    least = attacked_mean(unspent, _limits(count, 1 - error), lowest=0.0, shift=0.0)
    kl = max(0.0, stop - least)
    return span * min(1.0, stops + min(sqrt(-expm1(-kl)), sqrt(kl / 2)))


def filter_probability(
    returns: Float[np.ndarray, " episode"],
    spent: Float[np.ndarray, " episode"],
    threshold: float,
    *,
    budget: float,
    confidence: float = 0.95,
) -> float:
    """Lower bound on `P[return >= threshold]` under attack, by the filter at B = `budget`.

    Raises:
        SpecError: no episode, returns that are not finite, negative squares, a negative budget, or a
            confidence outside (0, 1).
    """
    check_episodes(returns, spent)
    reached = (returns >= threshold) & within(spent, budget)
    return certified_return_probability(
        reached.astype(float), 1.0, budget=budget, sigma=1.0, confidence=confidence
    )


def filter_curve(
    returns: Float[np.ndarray, " episode"],
    spent: Float[np.ndarray, " episode"],
    thresholds: Float[np.ndarray, " threshold"],
    *,
    budgets: Float[np.ndarray, " threshold"],
    confidence: float = 0.95,
) -> Float[np.ndarray, " threshold"]:
    """`filter_probability` for all these thresholds together, each with a budget of its own.

    The level of each limit is an equal share of the error or, where all budgets are the same and this is
    more, that of a band over all thresholds.

    Raises:
        SpecError: as `filter_probability`.
    """
    check_episodes(returns, spent)
    level = (1 - confidence) / thresholds.size
    if np.unique(budgets).size == 1:
        level = max(level, local_level(returns.size, confidence))
    kept = np.stack([within(spent, float(budget)) for budget in budgets])
    reached = np.sum(kept & (returns >= thresholds[:, None]), axis=-1)
    return np.asarray(attacked_probability(clopper_pearson(reached, returns.size, level), budgets))


def filter_mean(
    returns: Float[np.ndarray, " episode"],
    spent: Float[np.ndarray, " episode"],
    *,
    lowest: float,
    budget: float,
    confidence: float = 0.95,
) -> float:
    """Lower bound on `E[max(return, lowest)]` under attack, by the filter at B = `budget`.

    That is the mean return itself where no episode can return less than `lowest`.

    Raises:
        SpecError: as `filter_probability`.
    """
    check_episodes(returns, spent)
    counted = np.sort(np.where(within(spent, budget), returns, lowest))
    return attacked_mean(counted, _limits(counted.size, confidence), lowest=lowest, shift=budget)


def chosen_probability(
    choosing: Episodes, certifying: Episodes, threshold: float, *, confidence: float = 0.95
) -> Chosen:
    """`filter_probability` of some episodes, each of one block, at the budget that suits others best.

    Args:
        choosing: episodes on which the budget is chosen.
        certifying: episodes independent of them, over which the confidence holds.
        threshold: what the return is to reach.
        confidence: likewise.

    Raises:
        SpecError: as `filter_probability`.
    """

    def bound(episodes: Episodes, budget: float) -> float:
        returns, spent = episodes.returns[:, 0], episodes.spent[:, 0]
        return filter_probability(returns, spent, threshold, budget=budget, confidence=confidence)

    best = max(budgets_of(choosing.spent[:, 0]).tolist(), key=lambda budget: bound(choosing, budget))
    return Chosen(bound(certifying, best), np.array([best]))


def budgets_of(spent: Float[np.ndarray, " episode"]) -> Float[np.ndarray, " budget"]:
    """Those that are tried: quantiles of the root of what episodes spent.

    Rounded up, so that whoever spends just as much is within.
    """
    ranks = np.linspace(0, spent.size - 1, BUDGETS).astype(int)
    return np.nextafter(np.sqrt(np.unique(np.sort(spent)[ranks])), inf)


def within(spent: Float[np.ndarray, " episode"], budget: float) -> Bool[np.ndarray, " episode"]:
    """Which episodes spend no more than the squared budget."""
    if not 0 <= budget < inf:
        raise SpecError(f"budget: got {budget}, needs a number >= 0")
    return spent <= budget**2


def _limits(count: int, confidence: float) -> Float[np.ndarray, " episode"]:
    """The band's limits for returns in ascending order: all reach the first, one the last."""
    return survival_limits(count, confidence)[:0:-1]


def check_episodes(returns: Float[np.ndarray, "*episode"], spent: Float[np.ndarray, "*episode"]) -> None:
    """Raise SpecError for returns that are not finite, or squares that are not or are negative."""
    if not np.all(np.isfinite(returns)):
        raise SpecError("returns: got some that are not finite numbers")
    _check_spent(spent, "spent")


def _check_spent(spent: Float[np.ndarray, "*episode"], name: str) -> None:
    if not np.all((spent >= 0) & (spent < inf)):
        raise SpecError(
            f"{name}: got a range of [{spent.min()}, {spent.max()}], needs finite sums of squares"
        )
