"""Arrays of a population to tidy tables: one row per member x attack x eps, member x iteration, ..."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import polars as pl

from jaxprune.analysis import CURVES, LAYERS, RESULTS, validate
from jaxprune.evaluation import Tally
from jaxprune.policy import kernels
from jaxprune.population import Members, Population
from jaxprune.pruning import masks
from jaxprune.spec import SweepSpec
from jaxprune.training.member import Progress


def results(spec: SweepSpec, population: Population, tally: Tally) -> pl.DataFrame:
    """One row per member x attack x eps: raw undiscounted returns of the deterministic policy.

    The first `spec.episodes` episodes are reported, the others give `selection_mean`.
    """
    members, env = population.members, population.env
    achieved = np.asarray(jax.vmap(masks.achieved)(population.agents))
    fresh = jax.tree.map(lambda leaf: leaf[..., : spec.episodes], tally)
    rows = []
    for member, budget, attack, eps in _conditions(spec, members):
        total, length = fresh.total[member, budget], fresh.length[member, budget]
        rows.append(
            {
                "member": member,
                "task": spec.env,
                "physics": env.physics,
                "arm": str(members.arm[member]),
                "schedule": spec.schedule,
                "score": spec.ranking,
                "scope": spec.where,
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
                "diverged": population.diverged[member],
            }
        )
    return validate(table(rows, RESULTS), "results")


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


def returns(population: Population, tally: Tally, policy: str) -> pl.DataFrame:
    """One row per member: raw undiscounted returns and lengths of its clean episodes under `policy`.

    They stand beside F, which is small also for a policy that falls at once and so has few states.
    """
    total, length = np.asarray(tally.total[:, 0], np.float64), tally.length[:, 0]
    return pl.DataFrame(
        {
            "member": np.arange(len(total)),
            "arm": population.members.arm,
            "seed": population.members.seed,
            "sparsity_asked": population.members.sparsity,
            "policy": [policy] * len(total),
            "episodes": np.full(len(total), total.shape[1]),
            "return_mean": total.mean(1),
            "return_std": total.std(1),
            "length_mean": length.mean(1),
            "diverged": population.diverged,
        }
    )


def layers(population: Population) -> pl.DataFrame:
    """One row per member x layer of what is pruned: how many of its weights are exactly zero."""
    agents = population.agents.pruned()
    values = {} if population.agents.value_mask is None else {"value": agents.value}
    networks = {"policy": agents.policy} | values
    rows = []
    for network, params in networks.items():
        weights = kernels(params)
        for layer in range(len(weights)):
            kernel = np.asarray(weights[f"layer_{layer}"])
            for who, own in zip(population.members.columns(), kernel, strict=True):
                count = {"zeros": int((own == 0).sum()), "size": own.size}
                place = {"network": network, "layer": layer, "diverged": population.diverged[who["member"]]}
                rows.append(who | place | count)
    return validate(table(rows, LAYERS).sort("member", maintain_order=True), "layers")


def curves(spec: SweepSpec, members: Members, history: Progress) -> pl.DataFrame:
    """One row per trained member x iteration."""
    history = jax.device_get(history)
    steps = spec.environments * spec.unroll
    with np.errstate(invalid="ignore"):
        mean_return = history.return_sum / history.episodes
        mean_length = history.length_sum / history.episodes
    rows = [
        {
            **who,
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
        for member, who in enumerate(members.columns())
        for iteration in range(history.episodes.shape[0])
    ]
    return validate(table(rows, CURVES), "curves")


def latest(
    members: Members, history: Progress, done: int, window: int = 5
) -> tuple[tuple[float, float, int], ...]:
    """(sparsity, mean return, episodes) of the last iterations, over the seeds."""
    part = jax.device_get(jax.tree.map(lambda leaf: leaf[max(0, done - window) : done], history))
    return tuple(
        (
            sparsity,
            _ratio(part.return_sum[:, who].sum(), part.episodes[:, who].sum()),
            int(part.episodes[:, who].sum()),
        )
        for sparsity, who in _by_sparsity(members)
    )


def clean_so_far(members: Members, tally: Tally) -> tuple[tuple[float, float, int], ...]:
    """(sparsity, mean clean return, episodes ended) of an evaluation that goes on, over the seeds."""
    total, ended = np.asarray(tally.total[:, 0]), ~np.asarray(tally.alive[:, 0])
    return tuple(
        (sparsity, _ratio(total[who][ended[who]].sum(), ended[who].sum()), int(ended[who].sum()))
        for sparsity, who in _by_sparsity(members)
    )


def _conditions(spec: SweepSpec, members: Members) -> Iterator[tuple[int, int, str, float]]:
    """(member, place in the tally, attack, eps) of every row."""
    attacked = ((attack, budget.largest) for attack in spec.attacks for budget in spec.budgets)
    names = [("none", 0.0), *attacked]
    for member in range(members.size):
        for budget, (attack, eps) in enumerate(names):
            yield member, budget, attack, eps


def _by_sparsity(members: Members) -> Iterator[tuple[float, np.ndarray]]:
    for sparsity in dict.fromkeys(members.sparsity.tolist()):
        yield sparsity, np.flatnonzero(members.sparsity == sparsity)


def _ratio(total: np.floating, count: np.integer) -> float:
    return float(total) / int(count) if count else float("nan")


def table(rows: list[dict[str, Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Rows of plain or NumPy numbers as a table."""
    plain = [{k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in rows]
    return pl.DataFrame(plain, schema=schema)
