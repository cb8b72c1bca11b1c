"""The tables of a battery: what the chosen attackers left, and what every attacker tried did."""

import jax
import numpy as np
import polars as pl

from jaxprune.analysis import Bootstrap
from jaxprune.attacks import Ball
from jaxprune.battery.spec import BatterySpec
from jaxprune.evaluation import Tally
from jaxprune.policy import Agent
from jaxprune.pruning import masks

STRONGEST = "strongest"
"""The name, in the column `attack`, of the strongest of all attacks on a member."""


def results_table(
    spec: BatterySpec, ball: Ball, agents: Agent, names: list[str], selection: list[Tally], fresh: Tally
) -> pl.DataFrame:
    """The table `Battery.results`: each attack's best attacker, chosen by selection and measured afresh."""
    sparsity = np.asarray(jax.vmap(lambda agent: masks.achieved(agent.policy))(agents))
    tried = {name: 0 if name == "none" else spec.attackers(name) for name in names}
    bootstrap = Bootstrap()
    rows = []
    for member, share in enumerate(sparsity.tolist()):
        means = [tally.total[member].mean(-1, dtype=np.float64) for tally in selection]
        hardest = int(np.argmin([mean.min() for mean in means]))
        kinds = [(name, place, tried[name]) for place, name in enumerate(names)]
        for name, place, attackers in [*kinds, (STRONGEST, hardest, sum(tried.values()))]:
            where = {"selection": (selection[place], means[place].argmin()), "fresh": (fresh, place)}
            for episode_set, (tally, column) in where.items():
                total = tally.total[member, column]
                mean, low, high = bootstrap.mean(total)
                rows.append(
                    {
                        "member": member,
                        "sparsity": share,
                        "attack": name,
                        "found_by": names[place],
                        "norm": spec.norm,
                        "space": spec.space,
                        "eps": 0.0 if name == "none" else float(np.max(ball.eps)),
                        "episode_set": episode_set,
                        "episodes": total.size,
                        "return_mean": mean,
                        "return_low": low,
                        "return_high": high,
                        "return_median_attacker": float(np.median(means[place])),
                        "attackers_tried": attackers,
                        "failed": int(tally.failed[member, column].sum()),
                        "outside_ball": int(tally.outside[member, column].sum()),
                    }
                )
    return pl.DataFrame(rows)


def tried_table(names: list[str], selection: list[Tally]) -> pl.DataFrame:
    """The table `Battery.tried`: every attacker, and the best of the first k."""
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
