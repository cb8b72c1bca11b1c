"""The tables of an attack search: what the chosen attackers left, and what every attacker tried did."""

from itertools import product

import jax
import numpy as np
import polars as pl

from jaxprune.analysis import CLEAN, RESULTS, RUNGS, STRONGEST, TRANSFER, Student, decompose, validate
from jaxprune.attack_search.looks import Look
from jaxprune.attack_search.siblings import pairs
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
                        "policy": spec.policy,
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
        "scope": trained.where,
    }
    fresh = results.filter(pl.col("episode_set") == "fresh").join(pl.DataFrame(who), on="member")
    fresh = fresh.with_columns(**{name: pl.lit(value) for name, value in recipe.items()})
    kinds = fresh.filter(pl.col("attack") != STRONGEST)
    table = validate(kinds.select(RESULTS.names()).cast(RESULTS), "results")
    return table, decompose(table)


def tried_table(looks: dict[str, tuple[Look, ...]]) -> pl.DataFrame:
    """The table `AttackSearch.tried`: every attacker as it was last seen, and the best of the first k."""
    rows = []
    for name, of_attack in looks.items():
        for member in range(len(of_attack[0].attacker)):
            best = np.inf
            for attacker, (look, place) in sorted(_last_seen(of_attack, member).items()):
                mean = float(look.returns[member, place])
                best = min(best, mean)
                donor = look.started_from
                rows.append(
                    {
                        "member": member,
                        "attack": name,
                        "attacker": attacker,
                        "return_mean": mean,
                        "best_of_first": best,
                        "steps": int(look.steps[place]),
                        "episodes": look.episodes,
                        "started_from": None if donor is None else int(donor[member]),
                    }
                )
    return pl.DataFrame(rows, schema_overrides={"started_from": pl.Int64})


def _last_seen(looks: tuple[Look, ...], member: int) -> dict[int, tuple[Look, int]]:
    """The last look at every attacker, and its place in it: of several places, that of the strongest."""
    last = {}
    for look in looks:
        weakest_first = np.argsort(-look.returns[member], kind="stable").tolist()
        last |= {int(look.attacker[member, place]): (look, place) for place in weakest_first}
    return last


def rungs_table(looks: dict[str, tuple[Look, ...]]) -> pl.DataFrame:
    """The table `AttackSearch.rungs`: of what began from nothing, all that got to the end of each rung.

    `return_first` and `return_second` are means over one half of the episodes each.
    """
    rows = []
    for name, of_attack in looks.items():
        began_anew = [look for look in of_attack if look.started_from is None]
        for rung, look in enumerate(began_anew, 1):
            halves = np.array_split(look.tally.total, 2, axis=-1)
            first, second = (half.mean(-1, dtype=np.float64) for half in halves)
            for member, place in product(range(len(first)), look.furthest.tolist()):
                rows.append(
                    {
                        "member": member,
                        "attack": name,
                        "rung": rung,
                        "attacker": int(look.attacker[member, place]),
                        "steps": int(look.steps[place]),
                        "episodes": look.episodes,
                        "return_mean": float(look.returns[member, place]),
                        "return_first": float(first[member, place]),
                        "return_second": float(second[member, place]),
                    }
                )
    return pl.DataFrame(rows, schema=RUNGS)


def transfer_table(
    spec: AttackSearchSpec,
    population: Population,
    names: list[str],
    fresh: Tally,
    moved: Tally | None,
) -> pl.DataFrame:
    """The table `AttackSearch.transfer`; the own attacker of a member leaves it what `results` says.

    names: the attacks of `fresh`, [member, attack, episode]. moved: what `transferred` found, if asked.
    """
    if moved is None:
        return pl.DataFrame(schema=TRANSFER)
    everyone, interval = population.members, Student()
    sparsity = np.asarray(jax.vmap(masks.achieved)(population.agents))
    measured = [(i, i, fresh, i, names.index) for i in range(everyone.size)] + [
        (int(i), int(j), moved, pair, spec.learned.index)
        for pair, (i, j) in enumerate(zip(*pairs(everyone), strict=True))
    ]
    rows = []
    for origin, target, tally, row, column in sorted(measured, key=lambda each: each[:2]):
        for name in spec.learned:
            total = tally.total[row, column(name)]
            mean, low, high = interval.mean(total)
            rows.append(
                {
                    "arm": str(everyone.arm[origin]),
                    "seed": int(everyone.seed[origin]),
                    "attack": name,
                    "from_member": origin,
                    "to_member": target,
                    "from_sparsity": float(sparsity[origin]),
                    "to_sparsity": float(sparsity[target]),
                    "episodes": total.size,
                    "return_mean": mean,
                    "return_low": low,
                    "return_high": high,
                    "outside_ball": int(tally.outside[row, column(name)].sum()),
                }
            )
    return pl.DataFrame(rows, schema=TRANSFER)
