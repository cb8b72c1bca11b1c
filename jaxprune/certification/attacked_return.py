"""What the return of every member cannot fall below when its observations are attacked at every step.

Of the clean episodes (`spent`) half choose how much an attacked one may spend, the other half are certified
(`bounds.composition`).
"""

from typing import NamedTuple

import jax
import numpy as np
import polars as pl

from jaxprune.bounds import Episodes, chosen_mean, filter_curve, filter_mean, kl_gap, largest_budget
from jaxprune.certification.policy import ARITHMETIC
from jaxprune.certification.return_spec import STATEMENTS, ReturnSpec
from jaxprune.certification.smoothing import lowest_return
from jaxprune.certification.spent import Spent, block_ends
from jaxprune.evaluation import STEPS_AT_ONCE
from jaxprune.population import Population
from jaxprune.pruning import masks
from jaxprune.tables import table

KL_OF_SQUARE = {False: 0.5, True: 1 / np.pi}
"""What KL divergence a squared shift stands for: of a Gaussian, and of a softmax policy, whose shift is
sqrt(pi / 8) spans of its logits and whose divergence is an eighth of the squared span."""

SHARES = tuple(round(0.1 * share, 1) for share in range(1, 11))
"""Thresholds of the probabilities, as shares of the dense twin's clean return."""

HALF = SHARES.index(0.5)


_PLACE = {
    **dict.fromkeys(("member", "seed"), pl.Int64),
    "sparsity_asked": pl.Float64,
    "arm": pl.String,
    **dict.fromkeys(("sparsity", "eps"), pl.Float64),
    **dict.fromkeys(("norm", "space"), pl.String),
    "std": pl.Float64,
    "arithmetic": pl.String,
    "confidence": pl.Float64,
    **dict.fromkeys(("simultaneous", "episodes"), pl.Int64),
    **dict.fromkeys(("largest_budget", "lowest"), pl.Float64),
    "diverged": pl.Boolean,
}
MEANS = pl.Schema(
    _PLACE
    | dict.fromkeys(
        ("return_mean", "mean_max_lowest", "certified_mean", "budget", "spent", "certified_kl"), pl.Float64
    )
    | {"blocks": pl.Int64}
    | dict.fromkeys(
        ("mean_blocks", "certified_blocks", "threshold", "certified_probability", "attacked_mean"), pl.Float64
    )
    | {"attacked_episodes": pl.Int64}
)
CURVE = pl.Schema(_PLACE | dict.fromkeys(("threshold", "probability", "certified_probability"), pl.Float64))
"""The columns of the two tables. Members that diverged have no numbers of their own, and no curve."""


class AttackedReturns(NamedTuple):
    """Lower limits that hold for all members and radii together.

    means: a row per member x radius. `largest_budget`: the most that these episodes could let one spend and
    still certify that a return is reached more often than not. `return_mean` is the clean mean of the
    episodes certified, `mean_max_lowest` that of max(return, lowest), and `certified_mean` the lower limit on
    the latter under attack. `mean_blocks` and `certified_blocks` are the same with the sum over the blocks of
    max(return of a block, its share of lowest). `certified_kl` is what the KL gap leaves of the mean of
    returns cut to [lowest, the largest of the choosing half]. `certified_probability` bounds the probability
    of a return of at least `threshold`, half the mean of the dense twin's choosing half. `spent` is the
    median of sqrt(sum of squared shifts), `budget` the most that an attacked episode may spend and still
    count. `attacked_mean` is an estimate: the return under MAD, of `attacked_episodes`. Members that diverged
    have no limits.
    curve: a row per member x radius x threshold: `probability` of the clean episodes, and its limit.
    """

    means: pl.DataFrame
    curve: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """By the name that each is written under."""
        return {"attacked_returns": self.means, "attacked_return_curve": self.curve}


def attacked_returns(
    spec: ReturnSpec, population: Population, made: Spent, confidence: float
) -> AttackedReturns:
    """What the episodes certify."""
    lowest = lowest_return(population.env) if spec.return_lowest is None else spec.return_lowest
    achieved = np.asarray(jax.vmap(masks.achieved)(population.agents))
    members, horizon = population.members, population.env.horizon
    choosing = made.rewards[:, : -spec.certifying].sum(axis=-1).mean(axis=1)
    each = spec.each(confidence, members.size)
    about = {
        "norm": population.budget.norm,
        "space": population.budget.space,
        "std": spec.return_std,
        "arithmetic": ARITHMETIC,
        "confidence": confidence,
        "simultaneous": STATEMENTS * members.size * len(spec.radii),
        "episodes": spec.certifying,
        "largest_budget": largest_budget(0.5, spec.certifying, sigma=1.0, confidence=each),
        "lowest": float(lowest),
    }
    means, curve = [], []
    for member, who in enumerate(members.columns()):
        thresholds = choosing[members.dense_twin()[member]] * np.array(SHARES)
        for radius, eps in enumerate(spec.radii):
            lost = bool(population.diverged[member])
            place = {**who, "sparsity": float(achieved[member]), "eps": eps, **about, "diverged": lost}
            if lost:
                means.append(place)
                continue
            whole, parts = (
                _halves(made.of(member, radius, blocks, horizon), spec.certifying)
                for blocks in (1, spec.return_blocks)
            )
            one = _in_one(*whole, float(lowest), each, KL_OF_SQUARE[population.agents.discrete])
            returns, paid = whole[1].returns[:, 0], whole[1].spent[:, 0]
            certified = filter_curve(
                returns, paid, thresholds, budgets=np.array([one["budget"]]), confidence=each
            )[0]
            seen = {
                "attacked_mean": made.attacked[member, radius].mean(),
                "attacked_episodes": spec.return_attacked,
            }
            half = {"threshold": thresholds[HALF], "certified_probability": certified[HALF]}
            means.append(place | one | _in_several(*parts, float(lowest), horizon, each) | half | seen)
            curve += [
                place | {"threshold": t, "probability": np.mean(returns >= t), "certified_probability": c}
                for t, c in zip(thresholds, certified, strict=True)
            ]
    return AttackedReturns(table(means, MEANS), table(curve, CURVE))


def _halves(episodes: Episodes, certifying: int) -> tuple[Episodes, Episodes]:
    """Those that choose, and those that are certified."""
    return (
        Episodes(*(part[:-certifying] for part in episodes)),
        Episodes(*(part[-certifying:] for part in episodes)),
    )


def _in_one(
    choosing: Episodes, certifying: Episodes, lowest: float, confidence: float, kl_of_square: float
) -> dict[str, float]:
    """The limits on the mean of episodes of one block: by the filter and by the KL gap."""
    found = chosen_mean(choosing, certifying, lowest=np.array([lowest]), confidence=confidence)
    returns, paid = certifying.returns[:, 0], certifying.spent[:, 0]
    return {
        "return_mean": returns.mean(),
        "mean_max_lowest": np.maximum(returns, lowest).mean(),
        "certified_mean": found.bound,
        "budget": found.budgets[0],
        "spent": np.sqrt(np.median(paid)),
        "certified_kl": _mean_by_kl(choosing, certifying, lowest, confidence, kl_of_square),
    }


def _mean_by_kl(
    choosing: Episodes, certifying: Episodes, lowest: float, confidence: float, kl_of_square: float
) -> float:
    """The clean mean less the KL gap, each at half of the error; `lowest` where they leave less."""
    returns, highest = certifying.returns[:, 0], float(choosing.returns.max())
    if highest <= lowest:
        return lowest
    half = (1 + confidence) / 2
    cap = kl_of_square * choosing.spent.max() + np.finfo(float).tiny
    gap = kl_gap(kl_of_square * certifying.spent[:, 0], span=highest - lowest, cap=cap, confidence=half)
    cut = np.minimum(returns, highest)
    clean = filter_mean(cut, np.zeros_like(cut), lowest=lowest, budget=0.0, confidence=half)
    return max(lowest, clean - gap)


def _in_several(
    choosing: Episodes, certifying: Episodes, lowest: float, horizon: int, confidence: float
) -> dict[str, float | int]:
    """The limit on the mean of several blocks, each of which pays for the shifts up to its end."""
    blocks = certifying.returns.shape[1]
    ends = np.minimum(block_ends(blocks, horizon) * STEPS_AT_ONCE, horizon)
    least = lowest * np.diff(ends, prepend=0) / horizon
    return {
        "blocks": blocks,
        "mean_blocks": np.maximum(certifying.returns, least).sum(axis=1).mean(),
        "certified_blocks": chosen_mean(choosing, certifying, lowest=least, confidence=confidence).bound,
    }
