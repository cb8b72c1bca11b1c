"""Every attack on every victim: attackers are searched for, and the strongest of each kind is measured anew.

How many attackers were tried is a part of every number. The strongest is chosen on one set of episodes and
measured on a fresh one, because the smallest of many noisy means is smaller than it should be.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import polars as pl
from jaxtyping import Bool

from jaxprune import streams
from jaxprune.attacks import Nothing, Victim
from jaxprune.battery.arena import Arena, Meter, count_of
from jaxprune.battery.crowds import attackers_of, repeated
from jaxprune.battery.spec import BatterySpec
from jaxprune.battery.tables import results_table, tried_table
from jaxprune.envs import Environment
from jaxprune.policy import Agent
from jaxprune.sweep import Watch
from jaxprune.training.adversary import ADVERSARIES


class Battery(NamedTuple):
    """What came out, as tables.

    results: a row per member x attack x episode set ("selection", "fresh"), "none" and "strongest" included:
    raw undiscounted returns under the chosen attacker, with a Student interval of their mean over episodes.
    `return_median_attacker` is the median over the attackers of that kind (selection episodes).
    tried: a row per member x attack x attacker in the order tried, with the best of the first k.
    """

    results: pl.DataFrame
    tried: pl.DataFrame


def run(
    spec: BatterySpec,
    env: Environment,
    agents: Agent,
    watch: Watch = lambda update: None,
    folder: Path | None = None,
    diverged: Bool[np.ndarray, " member"] | None = None,
) -> Battery:
    """Attack every one of `agents` (leaves [member]) in `env`.

    What has been learned and measured is kept in `folder`, and taken from there where the same battery was
    stopped before its end: the tables are the same as without the stop. `diverged` marks members whose
    training left the finite numbers; they are attacked all the same.

    Raises SpecError where the budget does not fit the observations.
    """
    arena = Arena(env, spec.ball(env), spec.at_once, Meter(watch), folder)
    victims = Victim(agents, spec.space)
    selection_key, fresh_key = (streams.key(spec.seed, use) for use in ("selection", "measurement"))
    everyone = np.arange(count_of(agents))
    crowds = {"none": repeated(Nothing(), (everyone.size, 1))} | dict(attackers_of(spec, arena, victims))
    chosen, before = [], []
    for name, crowd in crowds.items():
        arena.meter.phase = f"selecting {name}"
        count = spec.attackers(name)
        tally = arena.measure_crowd(name, victims, crowd, count, selection_key, spec.selection_episodes)
        best = tally.total.mean(-1, dtype=np.float64).argmin(axis=1)
        chosen.append(jax.tree.map(lambda leaf, best=best: leaf[everyone, best], crowd))
        before.append(tally)
    arena.meter.phase = "measuring"
    fresh = arena.measure("fresh-returns", victims, tuple(chosen), fresh_key, spec.episodes)
    lost = np.zeros(everyone.size, bool) if diverged is None else diverged
    return Battery(
        results_table(spec, env, agents, [*crowds], before, fresh, lost), tried_table([*crowds], before)
    )


def total_steps(spec: BatterySpec, env: Environment, members: int) -> int:
    """Environment steps of training adversaries, and the most that all episodes can take."""
    attackers = {name: spec.attackers(name) for name in spec.attacks}
    trained = sum(attackers[name] for name in spec.attacks if name in ADVERSARIES)
    selection = (1 + sum(attackers.values())) * spec.selection_episodes
    fresh = (1 + len(attackers)) * spec.episodes
    return members * (trained * spec.iterations * spec.recipe.steps + (selection + fresh) * env.horizon)
