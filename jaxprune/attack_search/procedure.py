"""Every attack on every victim: attackers are searched for, and the strongest of each kind is measured anew.

How many attackers were tried is a part of every number. The strongest is chosen on one set of episodes and
measured on a fresh one, because the smallest of many noisy means is smaller than it should be.
"""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from jaxprune import streams
from jaxprune.analysis import CLEAN
from jaxprune.attack_search.attackers import attackers_of, only
from jaxprune.attack_search.selection import select
from jaxprune.attack_search.siblings import donors, pairs
from jaxprune.attack_search.spec import AttackSearchSpec
from jaxprune.attack_search.tables import results_table, rungs_table, transfer_table, tried_table
from jaxprune.attack_search.transfer import transferred
from jaxprune.attack_search.trials import Trials
from jaxprune.attacks import Nothing, Rule, Victim
from jaxprune.claims import asked, check_same, claim
from jaxprune.envs import Environment
from jaxprune.errors import unknown_name
from jaxprune.files import alone
from jaxprune.population import Population
from jaxprune.progress import Meter, OnProgress, unheard

KEPT_FORMAT = 2
"""To be raised where the same search would keep other things: 1 kept nothing of earlier rungs."""


class AttackSearch(NamedTuple):
    """What came out, as tables.

    results: a row per member x attack x episode set ("selection", "fresh"), "none" and "strongest" included:
    raw undiscounted returns under the chosen attacker, with a Student interval of their mean over episodes.
    `attackers_tried` counts all that started. `return_median_attacker` is the median over those of that kind
    which selection was among (selection episodes): not over those that a rung has stopped.
    tried: a row per member x attack x attacker in the order tried, with the best of the first k: `steps` of
    PPO that it was given, and the return on the `episodes` on which it was last measured. `started_from` is
    the member for whose adversary it began as, null for a beginning from nothing.
    rungs: a row per member x attack x rung x attacker that PPO trains, for `analysis.strongest_by_steps`.
    transfer: a row per attack x ordered pair of members of one seed: what the attacker chosen for
    `from_member` leaves `to_member` on the fresh episodes. Empty unless asked for.
    """

    results: pl.DataFrame
    tried: pl.DataFrame
    rungs: pl.DataFrame
    transfer: pl.DataFrame


def run(
    spec: AttackSearchSpec,
    population: Population,
    on_progress: OnProgress = unheard,
    folder: Path | None = None,
) -> AttackSearch:
    """Attack every member of the population, diverged ones included, which the tables mark.

    What has been learned and measured is kept in `folder`, and taken from there where the same search was
    stopped before its end: the tables are the same as without the stop.

    Raises SpecError where the budget does not fit the observations, no member is there to start from, or the
    folder holds what is kept of another search, or of other victims, or another process is at work in it.
    """
    check(spec, population)
    population = population.asked(spec.eps, spec.norm, spec.space)
    if folder is not None:
        claim(folder, of_what(spec, population))
    victims = Victim(population.agents.pruned(), population.budget.space)
    fresh_key = streams.key(spec.seed, "measurement")
    with alone(folder), Meter(on_progress) as meter:
        trials = Trials(population.env, population.budget.ball, spec.chunk, meter, folder, spec.policy)
        attackers = {CLEAN: only(Nothing(), victims)} | dict(attackers_of(spec, trials, victims))
        selected = {
            name: select(spec, trials, victims, population.members, name, candidates)
            for name, candidates in attackers.items()
        }
        meter.begin("measuring")
        rules = {name: each.rule for name, each in selected.items()}
        fresh = trials.measure("fresh-returns", victims, tuple(rules.values()), fresh_key, spec.episodes)
        moved = None
        if spec.transfer:
            meter.begin("measuring transfer")
            learned = tuple(rules[name] for name in spec.learned)
            moved = transferred(trials, victims, population.members, learned, fresh_key, spec.episodes)
    tallies = [each.tally for each in selected.values()]
    looks = {name: each.looks for name, each in selected.items()}
    return AttackSearch(
        results_table(spec, population, [*selected], tallies, fresh),
        tried_table(looks),
        rungs_table({name: looks[name] for name in spec.trained}),
        transfer_table(spec, population, [*selected], fresh, moved),
    )


def found(spec: AttackSearchSpec, population: Population, folder: Path, name: str) -> Rule:
    """The attackers of one kind that a search chose for every member, leaves [member].

    Of a search that was finished, all is read from the `folder` that it was run with, and nothing is trained.

    Raises SpecError for an attack that was not asked for, or a folder of another search or other victims.
    """
    if name not in spec.attacks:
        raise unknown_name("attack", name, spec.attacks)
    check_resumable(folder, spec, population)
    population = population.asked(spec.eps, spec.norm, spec.space)
    victims = Victim(population.agents.pruned(), population.budget.space)
    with Meter() as meter:
        trials = Trials(population.env, population.budget.ball, spec.chunk, meter, folder, spec.policy)
        candidates = dict(attackers_of(spec, trials, victims))[name]
        return select(spec, trials, victims, population.members, name, candidates).rule


def check(spec: AttackSearchSpec, population: Population) -> None:
    """Raise SpecError for a search that these members cannot have."""
    if spec.warm_starts:
        donors(population.members)
    if spec.transfer:
        pairs(population.members)


def check_resumable(folder: Path, spec: AttackSearchSpec, population: Population) -> None:
    """Raise SpecError, with the name of the field, where the folder is of another search or other victims."""
    check_same(folder, of_what(spec, population.asked(spec.eps, spec.norm, spec.space)))


def of_what(spec: AttackSearchSpec, population: Population) -> dict[str, Any]:
    """What a folder with things kept of a search says that they are of; the victims under its budget."""
    return asked(population, **spec.to_dict(), kept_format=KEPT_FORMAT)


def total_steps(spec: AttackSearchSpec, env: Environment, members: int, transfers: int = 0) -> int:
    """Environment steps of training adversaries and critics, and the most that all episodes can take.

    transfers: the pairs of members between which transfer is measured.
    """
    *stopped_at, last = spec.rung_sizes
    adversaries = len(spec.trained)
    stopped_or_earlier = spec.settings - last - len(stopped_at)
    candidates = 1 + sum(map(spec.attackers, spec.attacks)) - adversaries * stopped_or_earlier
    episodes = (
        candidates * spec.selection_episodes
        + (1 + len(spec.attacks)) * spec.episodes
        + adversaries * sum(stopped_at) * spec.rung_episodes
    )
    moved = transfers * len(spec.learned) * spec.episodes
    learning = adversaries * spec.training_steps + spec.critic_steps(env)
    return members * (learning + episodes * env.horizon) + moved * env.horizon
