"""Arrays of a population to tidy tables: one row per member x attack x eps, member x eps x bound, ..."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from jaxtyping import Bool

from jaxprune.analysis import CERTIFICATES, CURVES, RESULTS, validate
from jaxprune.certification import Certified
from jaxprune.certify import discounted_value_gap, expected_tv_limit, horizon_value_gap
from jaxprune.certify.policy import ARITHMETIC, MONOTONE, TIGHTEST
from jaxprune.envs import Environment
from jaxprune.evaluation import Tally, Visits
from jaxprune.policy import Agent
from jaxprune.pruning import masks
from jaxprune.spec import SweepSpec
from jaxprune.training.learner import Progress

CONFIDENCE = 0.95
"""Of the bounds on return, over the certified episodes."""


class Members(NamedTuple):
    """Seed and asked sparsity of every member."""

    seed: np.ndarray
    sparsity: np.ndarray

    def dense_twin(self) -> np.ndarray:
        """For every member, the one of its seed with sparsity 0; where there is none, the member itself."""
        dense = {seed: i for i, seed in enumerate(self.seed.tolist()) if self.sparsity[i] == 0}
        return np.array([dense.get(seed, i) for i, seed in enumerate(self.seed.tolist())])

    def has_dense_twin(self) -> np.ndarray:
        """Whether the sweep holds a member of sparsity 0 of the same seed."""
        return self.sparsity[self.dense_twin()] == 0


def results(
    spec: SweepSpec,
    env: Environment,
    members: Members,
    agents: Agent,
    tally: Tally,
    diverged: Bool[np.ndarray, " member"],
) -> pl.DataFrame:
    """One row per member x attack x eps: raw undiscounted returns of the deterministic policy.

    The first `spec.episodes` episodes are reported, the others give `selection_mean`.
    """
    achieved = np.asarray(jax.vmap(lambda agent: masks.achieved(agent.policy))(agents))
    fresh = jax.tree.map(lambda leaf: leaf[..., : spec.episodes], tally)
    rows = []
    for member, budget, attack, eps in _conditions(spec, members):
        total, length = fresh.total[member, budget], fresh.length[member, budget]
        rows.append(
            {
                "member": member,
                "task": spec.env,
                "physics": env.physics,
                "arm": "ppo",
                "schedule": spec.schedule,
                "score": spec.ranking,
                "scope": spec.scope,
                "seed": members.seed[member],
                "sparsity_asked": members.sparsity[member],
                "sparsity": achieved[member],
                "attack": attack,
                "norm": spec.norm,
                "space": spec.space,
                "eps": eps,
                "episodes": spec.episodes,
                "return_mean": total.mean(dtype=np.float64),
                "return_std": total.std(dtype=np.float64),
                "return_min": total.min(),
                "return_median": np.median(total),
                "length_mean": length.mean(),
                "failed": fresh.failed[member, budget].sum(),
                "outside_ball": tally.outside[member, budget].sum(),
                "attackers_tried": int(attack != "none"),
                "selection_mean": tally.total[member, budget, spec.episodes :].mean(dtype=np.float64),
                "policy": "mode",
                "charge": env.charge,
                "diverged": diverged[member],
            }
        )
    return validate(_table(rows, RESULTS), "results")


def episodes(spec: SweepSpec, members: Members, tally: Tally) -> pl.DataFrame:
    """One row per member x attack x eps x episode: the raw return, the length and how it ended."""
    return pl.DataFrame(
        [
            {
                "member": member,
                "attack": attack,
                "eps": eps,
                "episode_set": "fresh" if episode < spec.episodes else "selection",
                "episode": episode,
                "return": float(tally.total[member, budget, episode]),
                "length": int(tally.length[member, budget, episode]),
                "terminated": bool(tally.terminated[member, budget, episode]),
                "failed": bool(tally.failed[member, budget, episode]),
            }
            for member, budget, attack, eps in _conditions(spec, members)
            for episode in range(tally.total.shape[-1])
        ]
    )


def returns(
    members: Members, tally: Tally, policy: str, diverged: Bool[np.ndarray, " member"]
) -> pl.DataFrame:
    """One row per member: raw undiscounted returns and lengths of its clean episodes under `policy`.

    They stand beside F, which is small also for a policy that falls at once and so has few states.
    """
    total, length = np.float64(tally.total[:, 0]), tally.length[:, 0]
    return pl.DataFrame(
        {
            "member": np.arange(len(total)),
            "seed": members.seed,
            "sparsity_asked": members.sparsity,
            "policy": [policy] * len(total),
            "episodes": np.full(len(total), total.shape[1]),
            "return_mean": total.mean(1),
            "return_std": total.std(1),
            "length_mean": length.mean(1),
            "diverged": diverged,
        }
    )


def curves(spec: SweepSpec, members: Members, history: Progress) -> pl.DataFrame:
    """One row per trained member x iteration."""
    history = jax.device_get(history)
    steps = spec.environments * spec.unroll
    with np.errstate(invalid="ignore"):
        mean_return = history.return_sum / history.episodes
        mean_length = history.length_sum / history.episodes
    rows = [
        {
            "member": member,
            "seed": seed,
            "sparsity_asked": sparsity,
            "iteration": iteration + 1,
            "env_steps": (iteration + 1) * steps,
            "return_mean": mean_return[iteration, member],
            "length_mean": mean_length[iteration, member],
            "sparsity": history.sparsity[iteration, member],
            "policy_loss": history.update.policy_loss[iteration, member],
            "value_loss": history.update.value_loss[iteration, member],
            "entropy": history.update.entropy[iteration, member],
            "kl": history.update.kl[iteration, member],
            "clip_fraction": history.update.clip_fraction[iteration, member],
            "failed": history.failed[iteration, member],
            "diverged": history.diverged[iteration, member],
        }
        for member, (seed, sparsity) in enumerate(zip(*members, strict=True))
        for iteration in range(history.episodes.shape[0])
    ]
    return validate(_table(rows, CURVES), "curves")


def certificates(
    spec: SweepSpec,
    env: Environment,
    members: Members,
    agents: Agent,
    certified: list[Certified],
    visits: Visits,
    tally: Tally,
    diverged: Bool[np.ndarray, " member"],
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
    achieved = np.asarray(jax.vmap(lambda agent: masks.achieved(agent.policy))(agents))
    distance = "range" if agents.log_std is None else "delta"
    has_twin = members.has_dense_twin()
    rows = []
    for eps, bounds in zip(spec.budgets, certified, strict=True):
        for member, (seed, sparsity) in enumerate(zip(*members, strict=True)):
            one = jax.tree.map(lambda leaf, member=member: leaf[member], bounds)
            about = {
                "member": member,
                "seed": seed,
                "sparsity_asked": sparsity,
                "sparsity": achieved[member],
                "eps": eps,
                "norm": spec.norm,
                "space": spec.space,
                "policy": "sampled",
                "confidence": None,
                "violated": None,
                "diverged": diverged[member],
            }
            rows += [
                about | row
                for row in (
                    *_distance_rows(one, distance, bool(has_twin[member])),
                    *_return_rows(
                        spec,
                        env,
                        one,
                        jax.tree.map(lambda leaf, member=member: leaf[member], visits),
                        jax.tree.map(lambda leaf, member=member: leaf[member], tally),
                        confidence,
                    ),
                )
            ]
    return validate(_table(rows, CERTIFICATES), "certificates")


def latest(members: Members, history: Progress, done: int, window: int = 5) -> list[tuple[float, float, int]]:
    """(sparsity, mean return, episodes) of the last iterations, over the seeds."""
    part = jax.device_get(jax.tree.map(lambda leaf: leaf[max(0, done - window) : done], history))
    return [
        (
            sparsity,
            _ratio(part.return_sum[:, who].sum(), part.episodes[:, who].sum()),
            int(part.episodes[:, who].sum()),
        )
        for sparsity, who in _by_sparsity(members)
    ]


def clean_so_far(members: Members, tally: Tally) -> list[tuple[float, float, int]]:
    """(sparsity, mean clean return, episodes ended) of an evaluation that goes on, over the seeds."""
    total, ended = np.asarray(tally.total[:, 0]), ~np.asarray(tally.alive[:, 0])
    return [
        (sparsity, _ratio(total[who][ended[who]].sum(), ended[who].sum()), int(ended[who].sum()))
        for sparsity, who in _by_sparsity(members)
    ]


def _conditions(spec: SweepSpec, members: Members) -> Iterator[tuple[int, int, str, float]]:
    """(member, place in the tally, attack, eps) of every row."""
    names = [("none", 0.0), *((attack, eps) for attack in spec.attacks for eps in spec.budgets)]
    for member in range(len(members.seed)):
        for budget, (attack, eps) in enumerate(names):
            yield member, budget, attack, eps


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
            "monotone": bound in MONOTONE,
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
    spec: SweepSpec,
    env: Environment,
    certified: Certified,
    visits: Visits,
    tally: Tally,
    confidence: float,
) -> Iterator[dict[str, Any]]:
    """Limits on F and on what the adversary can cost, from the tightest bound on TV at each state.

    The latter are sound where the task bounds its reward; where it does not, the range is the one observed,
    and the number an estimate.
    """
    low, high = env.reward_range or (float(tally.reward_low.min()), float(tally.reward_high.max()))
    tv, length = jnp.asarray(certified.tv).T, jnp.asarray(visits.alive.sum(0))
    common = {
        "horizon": env.horizon,
        "terminates": env.terminates,
        "most": jnp.asarray(certified.most_tv),
        "confidence": confidence,
    }
    rewards = {"reward_low": low, "reward_high": max(high, low + 1e-6)}
    expected = expected_tv_limit(tv, length, discount=spec.discount, **common)
    discounted = discounted_value_gap(tv, length, discount=spec.discount, **rewards, **common)
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


def _by_sparsity(members: Members) -> Iterator[tuple[float, np.ndarray]]:
    for sparsity in dict.fromkeys(members.sparsity.tolist()):
        yield sparsity, np.flatnonzero(members.sparsity == sparsity)


def _ratio(total: np.floating, count: np.integer) -> float:
    return float(total) / int(count) if count else float("nan")


def or_infinite(value: Any) -> Any:
    """A bound, or the trivial one where the weights are not finite; as float64, of the shape given."""
    return np.nan_to_num(np.float64(value), nan=np.inf, posinf=np.inf)


def _table(rows: list[dict[str, Any]], schema: Mapping[str, object]) -> pl.DataFrame:
    plain = [{k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in rows]
    return pl.DataFrame(plain, schema=schema)
