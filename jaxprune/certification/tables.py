"""The table of certificates: one row per member x eps x bound x quantity."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from jaxprune.analysis import CERTIFICATES, validate
from jaxprune.bounds import discounted_value_gap, expected_tv_limit, horizon_value_gap, is_monotone
from jaxprune.budget import Budget
from jaxprune.certification.policy import ARITHMETIC, TIGHTEST
from jaxprune.certification.visited import Certified
from jaxprune.evaluation import Tally, Visits
from jaxprune.population import Population
from jaxprune.pruning import masks
from jaxprune.tables import table

CONFIDENCE = 0.95
"""Of the bounds on return, over the certified episodes."""


def certificates(
    population: Population,
    budgets: Sequence[Budget],
    certified: Sequence[Certified],
    visits: Visits,
    tally: Tally,
    confidence: float = CONFIDENCE,
) -> pl.DataFrame:
    """One row per member x eps x bound x quantity.

    quantity: `delta` (standard deviations) or, for categorical policies, `range` (logits); `delta_action`
    (the same in action units), `delta_dense` (in the dense twin's standard deviations), `tv` (the expectation
    F, estimated by the mean over the episodes of each bound; "tightest": of the smallest bound at each
    state), `tv_dense` (likewise), `tv_limit` (the upper confidence limit on F), `return` (likewise, on what
    an adversary can cost). Local bounds and the attack's "mad" are means over the same states, F and return
    are about all states visited. unmasked: the bound of the same weights without their mask, for the audit.

    All are about the stochastic policy: visits and the first condition of `tally` are clean episodes of its
    sampled actions.
    """
    members = population.members
    achieved = np.asarray(jax.vmap(masks.achieved)(population.agents))
    distance = "range" if population.agents.discrete else "delta"
    has_twin = members.has_dense_twin()
    rows = []
    for budget, bounds in zip(budgets, certified, strict=True):
        for member, who in enumerate(members.columns()):
            one = jax.tree.map(lambda leaf, member=member: leaf[member], bounds)
            about = {
                **who,
                "sparsity": achieved[member],
                "eps": budget.largest,
                "norm": budget.norm,
                "space": budget.space,
                "policy": "sampled",
                "confidence": None,
                "violated": None,
                "diverged": population.diverged[member],
            }
            rows += [
                about | row
                for row in (
                    *_distance_rows(one, distance, bool(has_twin[member])),
                    *_return_rows(
                        population,
                        one,
                        jax.tree.map(lambda leaf, member=member: leaf[member], visits),
                        jax.tree.map(lambda leaf, member=member: leaf[member], tally),
                        confidence,
                    ),
                )
            ]
    return validate(table(rows, CERTIFICATES), "certificates")


def _distance_rows(certified: Certified, distance: str, has_twin: bool) -> Iterator[dict[str, Any]]:
    def row(
        bound: str,
        quantity: str,
        value: Any,
        unmasked: Any = None,
        kind: str = "bound",
        violated: Any = None,
    ) -> dict[str, Any]:
        return {
            "bound": bound,
            "quantity": quantity,
            "monotone": is_monotone(bound),
            "kind": kind,
            "arithmetic": ARITHMETIC if kind == "bound" else "float32",
            # Weights that are not finite have no bound but the trivial one.
            "value": or_infinite(value),
            "unmasked": None if unmasked is None else or_infinite(unmasked),
            "vacuous": None,
            "violated": violated,
        }

    for bound, value in certified.distance.items():
        violated = int(certified.violated[bound])
        yield row(bound, distance, value, certified.unmasked[bound], violated=violated)
        if distance == "delta":
            whole = certified.unmasked_in_action_units[bound]
            yield row(bound, "delta_action", certified.in_action_units[bound], whole)
            if has_twin:
                yield row(bound, "delta_dense", certified.in_dense_units[bound])
    for bound, value in certified.expected_tv.items():
        yield row(bound, "tv", value, kind="estimate")
    if has_twin:
        yield row(TIGHTEST, "tv_dense", certified.expected_dense_tv, kind="estimate")
    yield row("mad", distance, certified.found, kind="estimate")


def _return_rows(
    population: Population,
    certified: Certified,
    visits: Visits,
    tally: Tally,
    confidence: float,
) -> Iterator[dict[str, Any]]:
    """Limits on F and on what the adversary can cost, from the tightest bound on TV at each state.

    The latter are sound where the task bounds its reward; where it does not, the range is the one observed,
    and the number an estimate.
    """
    env, discount = population.env, population.discount
    low, high = env.reward_range or (float(tally.reward_low.min()), float(tally.reward_high.max()))
    tv, length = jnp.asarray(certified.tv).T, jnp.asarray(visits.alive.sum(0))
    common = {
        "horizon": env.horizon,
        "terminates": env.terminates,
        "most": jnp.asarray(certified.most_tv),
        "confidence": confidence,
    }
    rewards = {"reward_low": low, "reward_high": max(high, low + 1e-6)}
    expected = expected_tv_limit(tv, length, discount=discount, **common)
    discounted = discounted_value_gap(tv, length, discount=discount, **rewards, **common)
    horizon = horizon_value_gap(tv, length, **rewards, **common)
    of_return = "bound" if env.reward_range else "estimate"
    for bound, quantity, kind, value, vacuous in (
        (TIGHTEST, "tv_limit", "bound", expected, expected >= 1),
        ("value_gap", "return", of_return, *discounted),
        ("horizon_gap", "return", of_return, *horizon),
    ):
        yield {
            "bound": bound,
            "quantity": quantity,
            "monotone": False,
            "kind": kind,
            "arithmetic": ARITHMETIC,
            "value": or_infinite(value),
            "unmasked": None,
            "vacuous": bool(vacuous),
            "confidence": confidence,
        }


def or_infinite(value: Any) -> Any:
    """A bound, or the trivial one where the weights are not finite; as float64, of the shape given."""
    return np.nan_to_num(np.float64(value), nan=np.inf, posinf=np.inf)
