"""Every attack on every victim: attackers are searched for, and the strongest of each kind is measured anew.

How many attackers were tried is a part of every number. The strongest is chosen on one set of episodes and
measured on a fresh one, because the smallest of many noisy means is smaller than it should be.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import polars as pl

from jaxprune import streams
from jaxprune.attack_search.attackers import attackers_of, repeated
from jaxprune.attack_search.spec import AttackSearchSpec
from jaxprune.attack_search.tables import results_table, tried_table
from jaxprune.attack_search.trials import Trials
from jaxprune.attacks import ATTACKS, TRAINING, Nothing, Victim
from jaxprune.envs import Environment
from jaxprune.population import Population
from jaxprune.progress import Meter, OnProgress, unheard


class AttackSearch(NamedTuple):
    """What came out, as tables.

    results: a row per member x attack x episode set ("selection", "fresh"), "none" and "strongest" included:
    raw undiscounted returns under the chosen attacker, with a Student interval of their mean over episodes.
    `return_median_attacker` is the median over the attackers of that kind (selection episodes).
    tried: a row per member x attack x attacker in the order tried, with the best of the first k.
    """

    results: pl.DataFrame
    tried: pl.DataFrame


def run(
    spec: AttackSearchSpec,
    population: Population,
    on_progress: OnProgress = unheard,
    folder: Path | None = None,
) -> AttackSearch:
    """Attack every member of the population, diverged ones included, which the tables mark.

    What has been learned and measured is kept in `folder`, and taken from there where the same search was
    stopped before its end: the tables are the same as without the stop.

    Raises SpecError where the budget does not fit the observations.
    """
    population = population.asked(spec.eps, spec.norm, spec.space)
    budget, count = population.budget, population.members.size
    victims = Victim(population.agents.pruned(), budget.space)
    selection_key, fresh_key = (streams.key(spec.seed, use) for use in ("selection", "measurement"))
    with Meter(on_progress) as meter:
        trials = Trials(population.env, budget.ball, spec.at_once, meter, folder)
        attackers = {"none": repeated(Nothing(), (count, 1))} | dict(attackers_of(spec, trials, victims))
        chosen, before = [], []
        for name, rules in attackers.items():
            meter.begin(f"selecting {name}")
            tried = spec.attackers(name)
            tally = trials.measure_each(name, victims, rules, tried, selection_key, spec.selection_episodes)
            best = tally.total.mean(-1, dtype=np.float64).argmin(axis=1)
            chosen.append(jax.tree.map(lambda leaf, best=best: leaf[np.arange(count), best], rules))
            before.append(tally)
        meter.begin("measuring")
        fresh = trials.measure("fresh-returns", victims, tuple(chosen), fresh_key, spec.episodes)
    names = [*attackers]
    return AttackSearch(results_table(spec, population, names, before, fresh), tried_table(names, before))


def total_steps(spec: AttackSearchSpec, env: Environment, members: int) -> int:
    """Environment steps of training adversaries, and the most that all episodes can take."""
    attackers = {name: spec.attackers(name) for name in spec.attacks}
    trained = sum(attackers[name] for name in spec.attacks if ATTACKS[name].needs == TRAINING)
    selection = (1 + sum(attackers.values())) * spec.selection_episodes
    fresh = (1 + len(attackers)) * spec.episodes
    return members * (trained * spec.steps_per_adversary + (selection + fresh) * env.horizon)
