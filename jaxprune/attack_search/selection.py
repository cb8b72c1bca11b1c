"""The strongest attacker of each kind, chosen on episodes that are not those reported as its strength."""

from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Int

from jaxprune import streams
from jaxprune.attack_search.attackers import search_of
from jaxprune.attack_search.looks import Candidates, Look
from jaxprune.attack_search.siblings import donors
from jaxprune.attack_search.spec import AttackSearchSpec
from jaxprune.attack_search.trials import Trials
from jaxprune.attacks import ATTACKS, Attack, Rule, Victim
from jaxprune.evaluation import Tally
from jaxprune.population import Members
from jaxprune.training.halving import Found
from jaxprune.training.search import networks

Tree = TypeVar("Tree")


class Selected(NamedTuple):
    """What selection chose for each member, leaves [member].

    tally: of all it chose among, [member, attacker, episode]. looks: all there were, in their order.
    """

    rule: Rule
    tally: Tally
    looks: tuple[Look, ...]


def select(
    spec: AttackSearchSpec,
    trials: Trials,
    victims: Victim,
    members: Members,
    name: str,
    candidates: Candidates,
) -> Selected:
    """The attacker of one kind that leaves each member least; with warm starts, of one more adversary."""
    looks, rules = [_look(spec, trials, victims, name, candidates)], [candidates.rules]
    learned = candidates.learned
    if spec.warm_starts and learned is not None:
        donor, best = donors(members), looks[0].returns.argmin(axis=1)
        trials.meter.begin(f"learning {name} from others")
        warm = _warm_started(spec, trials, victims, ATTACKS[name], learned, (donor, best[donor]))
        looks.append(_look(spec, trials, victims, name, warm, "-warm")._replace(started_from=donor))
        rules.append(warm.rules)
    tally, rule = _side_by_side([look.tally for look in looks]), _side_by_side(rules)
    strongest = tally.total.mean(-1, dtype=np.float64).argmin(axis=1)
    chosen = jax.tree.map(lambda leaf: leaf[np.arange(members.size), strongest], rule)
    return Selected(chosen, tally, (*candidates.before, *looks))


def _look(
    spec: AttackSearchSpec,
    trials: Trials,
    victims: Victim,
    name: str,
    candidates: Candidates,
    suffix: str = "",
) -> Look:
    trials.meter.begin(f"selecting {name}")
    count, key = candidates.attacker.shape[1], streams.key(spec.seed, "selection")
    tally = trials.measure_each(name + suffix, victims, candidates.rules, count, key, spec.selection_episodes)
    return Look(candidates.attacker, tally, candidates.steps)


def _warm_started(
    spec: AttackSearchSpec,
    trials: Trials,
    victims: Victim,
    attack: Attack,
    learned: Found,
    origin: tuple[Int[np.ndarray, " member"], Int[np.ndarray, " member"]],
) -> Candidates:
    """One adversary for each member, trained on from where the one [member, place] of `origin` stands.

    It has that one's setting, and goes through the last rung: with what annealing has left of its learning
    rate there, if the search has several.
    """
    search = search_of(spec, trials, victims, attack)
    setting = learned.setting[origin]
    others = jax.tree.map(lambda leaf: leaf[origin], learned.networks)
    learners = search.from_others(others, setting, streams.key(spec.seed, "warm starts"))
    done = spec.iterations - spec.warm_steps // spec.effort.recipe.steps
    further = search.advance(setting[:, None], spec.iterations, networks, "warm-start", done, learners)
    rules = search.adversary.replace(network=further.policy)
    number = np.full((len(setting), 1), spec.settings)
    return Candidates(rules, number, np.array([spec.warm_steps]))


def _side_by_side(parts: list[Tree]) -> Tree:
    """Trees with leaves [member, attacker, ...] as one; of a single one, itself."""
    if len(parts) == 1:
        return parts[0]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)
