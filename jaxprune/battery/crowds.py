"""The attackers of a battery: every kind asked for, with all attackers of that kind."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp

from jaxprune import attacks, checkpoint
from jaxprune.attacks import Attack, Sarsa, SarsaMad, Victim
from jaxprune.battery.arena import Arena, count_of
from jaxprune.battery.spec import CRITICAL, MAD_WEIGHTS, BatterySpec
from jaxprune.policy import Params
from jaxprune.training import sarsa, search
from jaxprune.training.adversary import ADVERSARIES


def attackers_of(spec: BatterySpec, arena: Arena, victims: Victim) -> Iterator[tuple[str, Attack]]:
    """Every kind of attack asked for, with the attackers of that kind: leaves [member, attacker]."""
    critics = None
    for name in spec.attacks:
        arena.meter.phase = f"learning {name}"
        arena.meter.add(0)
        if name in ADVERSARIES:
            yield name, _adversaries(spec, arena, victims, name)
        elif name in CRITICAL:
            if critics is None:
                critics = _critics(spec, arena, victims)
            yield name, Sarsa(critics) if name == "sarsa" else _with_every_weight(critics)
        else:
            yield name, repeated(attacks.make(name), (count_of(victims.agent), 1))


def _adversaries(spec: BatterySpec, arena: Arena, victims: Victim, name: str) -> Attack:
    return search.train(
        arena.env,
        victims,
        arena.ball,
        ADVERSARIES[name],
        search.GRIDS[spec.search],
        spec.recipe,
        folder=arena.place(name),
        iterations=spec.iterations,
        seed=spec.seed,
        at_once=spec.at_once,
        heard=arena.meter.hear,
    )


def _critics(spec: BatterySpec, arena: Arena, victims: Victim) -> Params:
    learn = partial(sarsa.train, arena.env, victims, sarsa.GRIDS[spec.search], sarsa.STUDY, spec.seed)
    return checkpoint.kept(arena.place("critics"), like=partial(jax.eval_shape, learn), make=learn)


def _with_every_weight(critics: Params) -> SarsaMad:
    """Every critic with every weight of MAD, [member, critic x weight]."""
    members, count = jax.tree.leaves(critics)[0].shape[:2]
    weights = jnp.broadcast_to(jnp.tile(jnp.asarray(MAD_WEIGHTS), count), (members, count * len(MAD_WEIGHTS)))
    return SarsaMad(jax.tree.map(lambda leaf: jnp.repeat(leaf, len(MAD_WEIGHTS), axis=1), critics), weights)


def repeated(attack: Attack, shape: tuple[int, int]) -> Attack:
    """The same attack for every member: leaves [member, attacker]."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*shape, *jnp.shape(leaf))), attack)
