"""What the return of every member cannot fall below when its observations are attacked at every step.

Of the clean episodes (`spent`) half choose how much an attacked one may spend, the other half are certified
(`bounds.composition`, `bounds.tangent`).
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import polars as pl

from jaxprune.bounds import Episodes, filter_curve, filter_mean, kl_gap, largest_budget, largest_radius
from jaxprune.certification.halves import Candidate, Halves, Prepared, best_of, halves
from jaxprune.certification.policy import ARITHMETIC
from jaxprune.certification.return_spec import OWN, STATEMENTS, ReturnSpec
from jaxprune.certification.smoothing import lowest_return
from jaxprune.certification.spent import Spent
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
    "stds_tried": pl.Int64,
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
        (
            *("mean_blocks", "certified_blocks", "threshold", "certified_probability"),
            *("attacked_mean", "attacked_max_lowest", "attacked_blocks"),
        ),
        pl.Float64,
    )
    | {"attacked_episodes": pl.Int64}
    | dict.fromkeys(("mean_own_std", "asked_mean", "largest_eps_25", "largest_eps_25_blocks"), pl.Float64)
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
    median of sqrt(sum of squared shifts), `budget` the most that an episode may spend and still count at
    some threshold (each has a budget of its own). `attacked_mean`, `attacked_max_lowest` and
    `attacked_blocks` are estimates: means under MAD, of `attacked_episodes`, of the return, and of what
    `certified_mean` and `certified_blocks` bound. All this is about the policy with `std` times its own
    standard deviation, chosen out of `stds_tried` (`halves`);
    `mean_own_std` is `mean_max_lowest` of the policy with its own.
    `largest_eps_25` is the same in all rows of a member: the largest radius, found from the smallest on
    (`bounds.largest_radius`), at which at least `asked_mean` is certified, a quarter of the way from `lowest`
    to what the choosing half returns with its own standard deviation; 0 where the smallest leaves less.
    `largest_eps_25_blocks` likewise, of the mean by blocks. These two of all members hold together with the
    confidence, as a family of their own. Members that diverged have no limits.
    curve: a row per member x radius x threshold: `probability` of the clean episodes, and its limit.
    """

    means: pl.DataFrame
    curve: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """By the name that each is written under."""
        return {"attacked_returns": self.means, "attacked_return_curve": self.curve}


# Long for what it lists: the columns of two tables.
def attacked_returns(
    spec: ReturnSpec, population: Population, made: Mapping[float, Spent], confidence: float
) -> AttackedReturns:
    """What the episodes certify. made: those of every scale that was played, `spec.played`."""
    lowest = float(lowest_return(population.env) if spec.return_lowest is None else spec.return_lowest)
    achieved = np.asarray(jax.vmap(masks.achieved)(population.agents))
    members, horizon = population.members, population.env.horizon
    choosing = made[OWN].rewards[:, : -spec.certifying].sum(axis=-1).mean(axis=1)
    each = spec.each(confidence, members.size)
    about = {
        "norm": population.budget.norm,
        "space": population.budget.space,
        "arithmetic": ARITHMETIC,
        "confidence": confidence,
        "simultaneous": STATEMENTS * members.size * len(spec.radii),
        "episodes": spec.certifying,
        "largest_budget": largest_budget(0.5, spec.certifying, sigma=1.0, confidence=each),
        "lowest": lowest,
        "stds_tried": len(spec.scales),
    }
    means, curve = [], []
    for member, who in enumerate(members.columns()):
        lost = bool(population.diverged[member])
        member_about = {**who, "sparsity": float(achieved[member]), **about, "diverged": lost}
        if lost:
            means += [member_about | {"eps": eps} for eps in spec.radii]
            continue
        thresholds = choosing[members.dense_twin()[member]] * np.array(SHARES)
        best = [
            best_of(spec, made, (member, radius), lowest, horizon, each) for radius in range(len(spec.radii))
        ]
        as_trained = [
            halves(spec, made[OWN], (member, 0), blocks, lowest, horizon)
            for blocks in (1, spec.return_blocks)
        ]
        searched = _searched(spec, best, as_trained, spec.each_sequence(confidence, members.size))
        for radius, (eps, chosen) in enumerate(zip(spec.radii, best, strict=True)):
            place = member_about | {"eps": eps, "std": chosen.scale}
            one = _in_one(chosen.whole, each, KL_OF_SQUARE[population.agents.discrete])
            counted = chosen.whole.halves.certifying
            returns = counted.returns[:, 0]
            budgets = chosen.whole.tangents.blocks[0].budgets_at(thresholds)
            certified = filter_curve(
                returns, counted.spent[:, 0], thresholds, budgets=budgets, confidence=each
            )
            hurt = partial(made[chosen.scale].under_attack, member, radius, horizon=horizon)
            seen = {
                "attacked_mean": hurt(1).mean(),
                "attacked_max_lowest": chosen.whole.halves.mean(hurt(1)),
                "attacked_blocks": chosen.parts.halves.mean(hurt(spec.return_blocks)),
                "attacked_episodes": spec.return_attacked,
            }
            half = {"threshold": thresholds[HALF], "certified_probability": certified[HALF]}
            means.append(place | one | _in_several(chosen.parts, each) | half | seen | searched)
            curve += [
                place | {"threshold": t, "probability": np.mean(returns >= t), "certified_probability": c}
                for t, c in zip(thresholds, certified, strict=True)
            ]
    return AttackedReturns(table(means, MEANS), table(curve, CURVE))


def _searched(
    spec: ReturnSpec, best: list[Candidate], as_trained: list[Halves], confidence: float
) -> dict[str, float]:
    """The clean mean of the policy as trained, and the largest radius that leaves a good share of it."""
    whole, parts = as_trained
    radii = np.array(spec.radii)

    limits = np.array([[one.whole.limit(confidence), one.parts.limit(confidence)] for one in best])
    return {
        "mean_own_std": whole.clean,
        "asked_mean": whole.asked,
        "largest_eps_25": largest_radius(radii, limits[:, 0], whole.asked),
        "largest_eps_25_blocks": largest_radius(radii, limits[:, 1], parts.asked),
    }


def _in_one(chosen: Prepared, confidence: float, kl_of_square: float) -> dict[str, float]:
    """The limits on the mean of whole episodes: by the filter and by the KL gap."""
    (choosing, certifying, lowest), by = chosen
    return {
        "return_mean": certifying.returns[:, 0].mean(),
        "mean_max_lowest": chosen.halves.clean,
        "certified_mean": chosen.limit(confidence),
        "budget": by.budgets[0],
        "spent": np.sqrt(np.median(certifying.spent[:, 0])),
        "certified_kl": _mean_by_kl(choosing, certifying, float(lowest[0]), confidence, kl_of_square),
    }


def _in_several(chosen: Prepared, confidence: float) -> dict[str, float | int]:
    """The limit on the mean of several blocks, each of which pays for the shifts up to its end."""
    return {
        "blocks": len(chosen.tangents.blocks),
        "mean_blocks": chosen.halves.clean,
        "certified_blocks": chosen.limit(confidence),
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
