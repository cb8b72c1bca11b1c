"""The tables of an attack search: what the chosen attackers left, and what every attacker tried did."""

import jax
import numpy as np
import polars as pl

from jaxprune.analysis import CLEAN, RESULTS, STRONGEST, Student, decompose, validate
from jaxprune.attack_search.spec import AttackSearchSpec
from jaxprune.errors import SpecError
from jaxprune.evaluation import Tally
from jaxprune.population import Population
from jaxprune.pruning import masks


def results_table(
    spec: AttackSearchSpec,
    population: Population,
    names: list[str],
    selection: list[Tally],
    fresh: Tally,
) -> pl.DataFrame:
    """The table `AttackSearch.results`: each attack's best attacker, chosen by selection and measured afresh.

    names: of the kinds of attack, the first being the clean episodes, which are no candidate for "strongest".
    """
    sparsity = np.asarray(jax.vmap(masks.achieved)(population.agents))
    tried = {name: 0 if name == CLEAN else spec.attackers(name) for name in names}
    budget, interval = population.budget, Student()
    rows = []
    for member, share in enumerate(sparsity.tolist()):
        means = [tally.total[member].mean(-1, dtype=np.float64) for tally in selection]
        hardest = min(range(1, len(names)), key=lambda place: (means[place].min(), names[place]))
        kinds = [(name, place, tried[name]) for place, name in enumerate(names)]
        for name, place, attackers in [*kinds, (STRONGEST, hardest, sum(tried.values()))]:
            where = {"selection": (selection[place], means[place].argmin()), "fresh": (fresh, place)}
            for episode_set, (tally, column) in where.items():
                total = tally.total[member, column]
                mean, low, high = interval.mean(total)
                rows.append(
                    {
                        "member": member,
                        "sparsity": share,
                        "attack": name,
                        "found_by": names[place],
                        "norm": budget.norm,
                        "space": budget.space,
                        "eps": 0.0 if name == CLEAN else budget.largest,
                        "episode_set": episode_set,
                        "episodes": total.size,
                        "return_mean": mean,
                        "return_low": low,
                        "return_high": high,
                        "return_std": float(total.std(dtype=np.float64)),
                        "return_min": float(total.min()),
                        "return_median": float(np.median(total)),
                        "length_mean": float(tally.length[member, column].mean()),
                        "selection_mean": float(means[place].min()),
                        "policy": "mode",
                        "charge": population.env.charge,
                        "diverged": bool(population.diverged[member]),
                        "return_median_attacker": float(np.median(means[place])),
                        "attackers_tried": attackers,
                        "failed": int(tally.failed[member, column].sum()),
                        "outside_ball": int(tally.outside[member, column].sum()),
                    }
                )
    return pl.DataFrame(rows)


def of_a_run(results: pl.DataFrame, population: Population) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the search did to the members of a run, as the tables a sweep has: results, and their regret.

    Of the fresh episodes. What is strongest was chosen by selection, as everywhere.

    Raises SpecError for a population that comes from no run.
    """
    everyone, trained = population.members, population.trained_by
    if trained is None:
        raise SpecError("population: it comes from no run, so there is nothing to compare its members with")
    who = {
        "member": np.arange(everyone.size),
        "arm": everyone.arm,
        "seed": everyone.seed,
        "sparsity_asked": everyone.sparsity,
    }
    recipe = {
        "task": trained.env,
        "physics": population.env.physics,
        "schedule": trained.schedule,
        "score": trained.ranking,
        "scope": trained.scope,
    }
    fresh = results.filter(pl.col("episode_set") == "fresh").join(pl.DataFrame(who), on="member")
    fresh = fresh.with_columns(**{name: pl.lit(value) for name, value in recipe.items()})
    kinds = fresh.filter(pl.col("attack") != STRONGEST)
    table = validate(kinds.select(RESULTS.names()).cast(RESULTS), "results")
    return table, decompose(table)


def tried_table(names: list[str], selection: list[Tally]) -> pl.DataFrame:
    """The table `AttackSearch.tried`: every attacker, and the best of the first k."""
    rows = []
    for name, tally in zip(names, selection, strict=True):
        for member, means in enumerate(tally.total.mean(-1, dtype=np.float64)):
            best = np.minimum.accumulate(means)
            rows += [
                {
                    "member": member,
                    "attack": name,
                    "attacker": attacker,
                    "return_mean": float(means[attacker]),
                    "best_of_first": float(best[attacker]),
                }
                for attacker in range(means.size)
            ]
    return pl.DataFrame(rows)
