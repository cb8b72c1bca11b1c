"""The attackers of a search: every attack asked for, with all its attackers."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxprune import checkpoint
from jaxprune.attack_search.spec import AttackSearchSpec
from jaxprune.attack_search.trials import Trials, count_of
from jaxprune.attacks import ATTACKS, CRITICS, TRAINING, Attack, Rule, Victim
from jaxprune.errors import SpecError
from jaxprune.policy import Params
from jaxprune.training import sarsa, search
from jaxprune.training.adversary import Adversary


def attackers_of(spec: AttackSearchSpec, trials: Trials, victims: Victim) -> Iterator[tuple[str, Rule]]:
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
            yield name, with_every_setting(attack, critics)
        else:
            yield name, repeated(attack.rule(), (count_of(victims.agent), 1))


def _adversaries(spec: AttackSearchSpec, trials: Trials, victims: Victim, attack: Attack) -> Rule:
    lowest = np.inf

    def heard(steps: int, returns: Float[np.ndarray, " pair"]) -> None:
        nonlocal lowest
        if np.isfinite(returns).any():
            lowest = float(np.nanmin(returns))
        trials.meter.add(steps, note=f"lowest return {lowest:.0f}" if np.isfinite(lowest) else "")

    untrained = attack.rule()
    if not isinstance(untrained, Adversary):
        raise SpecError(f"attack: {attack.name!r} needs training, but its rule is no `training.Adversary`")
    return search.train(
        trials.env,
        victims,
        trials.ball,
        untrained,
        spec.effort.adversaries,
        spec.effort.recipe,
        folder=trials.place(attack.name),
        iterations=spec.iterations,
        seed=spec.seed,
        at_once=spec.at_once,
        heard=heard,
    )


def _critics(spec: AttackSearchSpec, trials: Trials, victims: Victim) -> Params:
    learn = partial(sarsa.train, trials.env, victims, spec.effort.critics, spec.effort.study, spec.seed)
    return checkpoint.load_or_make(trials.place("critics"), like=partial(jax.eval_shape, learn), make=learn)


def with_every_setting(attack: Attack, critics: Params) -> Rule:
    """Every critic with every setting of the attack, [member, critic x setting]."""
    if not attack.settings:
        return attack.rule(critics)
    members, count = jax.tree.leaves(critics)[0].shape[:2]
    tried = len(attack.settings)
    settings = jnp.broadcast_to(jnp.tile(jnp.asarray(attack.settings), count), (members, count * tried))
    return attack.rule(jax.tree.map(lambda leaf: jnp.repeat(leaf, tried, axis=1), critics), settings)


def repeated(rule: Rule, shape: tuple[int, int]) -> Rule:
    """The same rule for every member: leaves [member, attacker]."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*shape, *jnp.shape(leaf))), rule)
