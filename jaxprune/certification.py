"""What can be said for sure about one agent at the states it visited, and what an attack found there."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.attacks import Ball, Mad, Victim
from jaxprune.certify.policy import Distances, discounted_mean, distances, total_variation
from jaxprune.evaluation import Visits
from jaxprune.policy import Agent

SEARCHED_STATES = 50
"""States per episode at which an attack searches for the distance that the bounds bound."""

SEARCH_STARTS = 5


@struct.dataclass
class Certified:
    """Distances of one agent for one budget, by bound, and what follows from them.

    distance: in standard deviations of the policy (Gaussian) or of logits (categorical). unmasked: the same
    bounds for the same weights without their mask. in_action_units, in_dense_units: with ones and with the
    dense twin's standard deviations in place of the policy's own; equal to `distance` for a categorical one.
    tv: [time, episode], bound on TV at each state, from the interval bound; dense_tv: in dense units.
    expected_tv: `F` by bound. found: mean over some visited states of the largest distance MAD found there
    (an estimate, from below).
    """

    distance: dict[str, Float[Array, "..."]]
    unmasked: dict[str, Float[Array, "..."]]
    in_action_units: dict[str, Float[Array, "..."]]
    in_dense_units: dict[str, Float[Array, "..."]]
    expected_tv: dict[str, Float[Array, "..."]]
    expected_dense_tv: Float[Array, "..."]
    tv: Float[Array, "..."]
    found: Float[Array, "..."]


def certify(
    agent: Agent,
    unmasked: Agent,
    dense: Agent,
    visits: Visits,
    key: PRNGKeyArray,
    ball: Ball,
    space: str,
    discount: float,
) -> Certified:
    """All certificates of one agent. `visits` are its own clean states, [time, episode, obs]."""
    categorical = agent.log_std is None
    spreads = (
        None if categorical else jnp.stack([agent.log_std, agent.log_std, 0 * agent.log_std, dense.log_std])
    )
    which = jax.tree.map(lambda *leaves: jnp.stack(leaves), unmasked, agent, agent, agent)

    def of(which: Agent, log_std: Array | None) -> Distances:
        std = None if categorical else jnp.exp(log_std)
        return distances(which, std, visits.observation, ball.eps, norm=ball.norm, space=space)

    # The four variants are one batch, so that the program holds the bounds once.
    bounds = jax.vmap(of)(which, spreads)
    whole, own, in_action_units, in_dense_units = (
        jax.tree.map(lambda leaf, i=i: leaf[i], bounds) for i in range(4)
    )
    tv = total_variation(own.visited, categorical=categorical)
    dense_tv = total_variation(in_dense_units.visited, categorical=categorical)
    expected = {
        name: total_variation(bound, categorical=categorical) * jnp.ones_like(tv)
        for name, bound in own.everywhere.items()
    } | {"interval": tv}
    return Certified(
        distance=_over_visits(own, visits),
        unmasked=_over_visits(whole, visits),
        in_action_units=_over_visits(in_action_units, visits),
        in_dense_units=_over_visits(in_dense_units, visits),
        expected_tv={name: discounted_mean(v, visits.alive, discount) for name, v in expected.items()},
        expected_dense_tv=discounted_mean(dense_tv, visits.alive, discount),
        tv=tv,
        found=_found(Victim(agent, space), visits, key, ball),
    )


def _over_visits(distances: Distances, visits: Visits) -> dict[str, Array]:
    """The global bounds as they are; the local one as its mean over the visited states."""
    return distances.everywhere | {"interval": _mean(distances.visited, visits.alive)}


def _mean(values: Array, alive: Array) -> Array:
    return jnp.sum(jnp.where(alive, values, 0.0)) / jnp.sum(alive)


def _found(victim: Victim, visits: Visits, key: PRNGKeyArray, ball: Ball) -> Float[Array, ""]:
    """Mean over some visited states of the largest distance MAD reaches from several starts."""
    stride = max(1, visits.alive.shape[0] // SEARCHED_STATES)
    seen = Visits(visits.observation[::stride], visits.alive[::stride])

    def distance(observation: Array, key: PRNGKeyArray) -> Array:
        point = victim.point(observation)
        shown, _ = Mad().perturb(key, victim, point, ball, ())
        change = victim.output(shown) - victim.output(point)
        if victim.agent.log_std is None:
            return jnp.max(change) - jnp.min(change)
        return jnp.sqrt(jnp.sum((change * jnp.exp(-victim.agent.log_std)) ** 2))

    def largest(observation: Array, key: PRNGKeyArray) -> Array:
        return jnp.max(jax.vmap(distance, (None, 0))(observation, jax.random.split(key, SEARCH_STARTS)))

    keys = jax.random.split(key, seen.alive.shape)
    return _mean(jax.vmap(jax.vmap(largest))(seen.observation, keys), seen.alive)
