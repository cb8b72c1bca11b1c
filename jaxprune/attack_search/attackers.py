"""The attackers of a search: every attack asked for, with all its attackers."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxprune import kept, streams
from jaxprune.attack_search.looks import Candidates, Look
from jaxprune.attack_search.spec import AttackSearchSpec
from jaxprune.attack_search.trials import Trials, count_of
from jaxprune.attacks import ATTACKS, CRITICS, TRAINING, Attack, Rule, Victim
from jaxprune.errors import SpecError
from jaxprune.policy import Params
from jaxprune.training import halving, sarsa, search
from jaxprune.training.adversary import Adversary


def attackers_of(spec: AttackSearchSpec, trials: Trials, victims: Victim) -> Iterator[tuple[str, Candidates]]:
    """The attackers of every attack asked for, by its name: leaves [member, attacker]."""
    critics = None
    for name in spec.attacks:
        attack = ATTACKS[name]
        trials.meter.begin(f"learning {name}")
        if attack.needs == TRAINING:
            yield name, _adversaries(spec, trials, victims, attack)
        elif attack.needs == CRITICS:
            if critics is None:
                critics = _critics(spec, trials, victims)
            yield name, numbered(with_every_setting(attack, critics), victims, spec.attackers(name))
        else:
            yield name, only(attack.rule(), victims)


def search_of(spec: AttackSearchSpec, trials: Trials, victims: Victim, attack: Attack) -> search.Search:
    """The search for the adversaries of an attack. Raises SpecError if its rule cannot be trained."""
    lowest = np.inf

    def heard(steps: int, returns: Float[np.ndarray, " pair"]) -> None:
        nonlocal lowest
        if np.isfinite(returns).any():
            lowest = float(np.nanmin(returns))
        trials.meter.add(steps, note=f"lowest return {lowest:.0f}" if np.isfinite(lowest) else "")

    untrained = attack.rule()
    if not isinstance(untrained, Adversary):
        raise SpecError(f"attack: {attack.name!r} needs training, but its rule is no `training.Adversary`")
    return search.Search(
        trials.env,
        victims,
        trials.ball,
        untrained,
        spec.effort.adversaries,
        spec.effort.recipe,
        spec.iterations,
        spec.seed,
        spec.chunk,
        heard,
        trials.place(attack.name),
        spec.policy == "sampled",
    )


def _adversaries(spec: AttackSearchSpec, trials: Trials, victims: Victim, attack: Attack) -> Candidates:
    """Those that were trained to the end, the strongest of earlier rungs, and the looks at those."""
    asked, looks = search_of(spec, trials, victims, attack), []

    def judge(
        rung: int, setting: Int[np.ndarray, "member attacker"], rules: Adversary
    ) -> Float[np.ndarray, "member attacker"]:
        trials.meter.begin(f"rung {rung} of {attack.name}")
        key = jax.random.fold_in(streams.key(spec.seed, "rungs"), rung)
        name = f"{attack.name}-rung-{rung}"
        tally = trials.measure_each(name, victims, rules, setting.shape[1], key, spec.rung_episodes)
        steps = np.full(setting.shape[1], spec.rung_steps[rung - 1])
        looks.append(Look(setting, tally, steps, f"rung {rung}"))
        trials.meter.begin(f"learning {attack.name}")
        return looks[-1].returns

    found = halving.halved(asked, spec.rungs, judge)
    rules = asked.adversary.replace(network=found.networks.policy)
    steps = found.iterations * spec.effort.recipe.steps
    return Candidates(rules, found.setting, steps, tuple(looks), found)


def _critics(spec: AttackSearchSpec, trials: Trials, victims: Victim) -> Params:
    """Those of every victim, each kept as soon as it is learned."""

    def kept_of(victim: int, learn: Callable[[], Params]) -> Params:
        place = trials.place("critics", f"{victim}.npz")
        critics = learn() if place is None else kept.load_or_make(place, learn)
        trials.meter.add(spec.critic_steps(trials.env))
        return critics

    return sarsa.train(trials.env, victims, spec.effort.critics, spec.effort.study, spec.seed, kept_of)


def with_every_setting(attack: Attack, critics: Params) -> Rule:
    """Every critic with every setting of the attack, [member, critic x setting]."""
    if not attack.settings:
        return attack.rule(critics)
    members, count = jax.tree.leaves(critics)[0].shape[:2]
    tried = len(attack.settings)
    settings = jnp.broadcast_to(jnp.tile(jnp.asarray(attack.settings), count), (members, count * tried))
    return attack.rule(jax.tree.map(lambda leaf: jnp.repeat(leaf, tried, axis=1), critics), settings)


def only(rule: Rule, victims: Victim) -> Candidates:
    """The same single rule for every member."""
    shape = (count_of(victims.agent), 1)
    repeated = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*shape, *jnp.shape(leaf))), rule)
    return numbered(repeated, victims, 1)


def numbered(rules: Rule, victims: Victim, count: int) -> Candidates:
    """So many rules for every member, leaves [member, attacker], which PPO has not trained."""
    return Candidates(rules, np.tile(np.arange(count), (count_of(victims.agent), 1)), np.zeros(count, int))
