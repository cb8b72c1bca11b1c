"""What the attacker chosen for one member does to the others of its seed."""

import jax
from jaxtyping import PRNGKeyArray

from jaxprune.attack_search.siblings import pairs
from jaxprune.attack_search.trials import Trials
from jaxprune.attacks import Rule, Victim
from jaxprune.evaluation import Tally
from jaxprune.population import Members


def transferred(
    trials: Trials,
    victims: Victim,
    members: Members,
    chosen: tuple[Rule, ...],
    key: PRNGKeyArray,
    episodes: int,
) -> Tally:
    """Each chosen rule (leaves [member]) on its member's siblings: [pair, attack, episode], see `pairs`.

    Raises SpecError if no two members share a seed.
    """
    origin, target = pairs(members)
    rules = jax.tree.map(lambda leaf: leaf[origin], chosen)
    siblings = jax.tree.map(lambda leaf: leaf[target], victims)
    return trials.measure("transfer-returns", siblings, rules, key, episodes)
