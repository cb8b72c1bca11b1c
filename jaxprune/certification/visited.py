"""What can be said for sure about agents at the states they visited, and what an attack found there."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxprune import kept, streams
from jaxprune.attacks import Mad, Victim
from jaxprune.bounds import BOUNDS, Bound
from jaxprune.budget import Ball
from jaxprune.certification.policy import TIGHTEST, Distances, discounted_mean, distances, total_variation
from jaxprune.certification.stages import Stage, unkept
from jaxprune.evaluation import Visits
from jaxprune.policy import Agent
from jaxprune.population import Population

SEARCHED_STATES = 50
"""States per episode at which an attack searches for the distance that the bounds bound."""

SEARCH_STARTS = 5


class Certified(struct.PyTreeNode):
    """Distances of one agent for one budget, by bound, and what follows from them.

    distance: in standard deviations of the policy (Gaussian) or of logits (categorical); of a local bound the
    mean over the searched states. unmasked, unmasked_in_action_units: the same bounds for the same weights
    without their mask.
    in_action_units, in_dense_units: with ones and with the dense twin's standard deviations in place of the
    policy's own; equal to `distance` for a categorical one.
    tv: [time, episode], bound on TV at each state from the tightest bound there. most_tv: at any state.
    expected_tv: the mean over the episodes of what bounds `F`, by bound, "tightest" included, an estimate;
    expected_dense_tv: the tightest, in dense units.
    found: mean over the searched states of the largest distance MAD found there (an estimate, from below).
    violated: by bound, at how many of the searched states it is above the bound: 0, or a bound is wrong.
    """

    distance: dict[str, Float[Array, "*members"]]
    unmasked: dict[str, Float[Array, "*members"]]
    unmasked_in_action_units: dict[str, Float[Array, "*members"]]
    in_action_units: dict[str, Float[Array, "*members"]]
    in_dense_units: dict[str, Float[Array, "*members"]]
    expected_tv: dict[str, Float[Array, "*members"]]
    expected_dense_tv: Float[Array, "*members"]
    tv: Float[Array, "*members time episode"]
    most_tv: Float[Array, "*members"]
    found: Float[Array, "*members"]
    violated: dict[str, Int[Array, "*members"]]


def certify(population: Population, visits: Visits, stage: Stage = unkept) -> Certified:
    """All certificates of every member, leaves [member], under the budget of the population.

    visits: each member's own clean states, [member, time, episode, obs], under sampled actions if F and the
    value gaps, which are about the stochastic policy, are to hold. stage: told of every member, and may keep
    what comes out.
    """
    budget, everyone = population.budget, population.members
    agents, twin = jax.device_get(population.agents), everyone.dense_twin()
    keys = jax.vmap(partial(streams.key, domain="certification"))(jnp.asarray(everyone.seed))

    def of_member(member: int) -> kept.Arrays:
        agent, dense, seen = (
            jax.tree.map(lambda leaf, row=row: leaf[row], tree)
            for tree, row in ((agents, member), (agents, twin[member]), (visits, member))
        )
        found = _certified(
            (agent, dense, seen, keys[member]),
            budget.ball.eps,
            norm=budget.norm,
            space=budget.space,
            discount=population.discount,
            listed=tuple(BOUNDS.values()),
        )
        return vars(jax.device_get(found))

    # One member at a time: the states and boxes of all of them would not fit a small memory.
    each = []
    for member in range(everyone.size):
        phase = f"certificates of member {member + 1} of {everyone.size}"
        each.append(Certified(**stage(f"certificates-{member}", phase, partial(of_member, member))))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


@partial(jax.jit, static_argnames=("norm", "space", "discount", "listed"))
def _certified(
    member: tuple[Agent, Agent, Visits, PRNGKeyArray],
    eps: Array,
    *,
    norm: str,
    space: str,
    discount: float,
    listed: tuple[Bound, ...],
) -> Certified:
    """One program for all members and budgets of a norm. listed: all bounds there are, for which it is."""
    return certify_agent(*member, Ball(eps, norm), space, discount)


def certify_agent(
    agent: Agent,
    dense: Agent,
    visits: Visits,
    key: PRNGKeyArray,
    ball: Ball,
    space: str,
    discount: float,
) -> Certified:
    """All certificates of one agent, with its mask and without.

    dense: whose standard deviations some are in. visits: see `certify`.
    """
    categorical, unmasked, agent = agent.discrete, agent.unmasked(), agent.pruned()
    units = (
        jnp.zeros((3, 1))  # a categorical policy has no standard deviations
        if agent.log_std is None or dense.log_std is None
        else jnp.stack([agent.log_std, 0 * agent.log_std, dense.log_std])
    )

    def of(weights: Agent, log_std: Array) -> Distances:
        std = None if categorical else jnp.exp(log_std)
        return distances(weights, std, visits.observation, jnp.asarray(ball.eps), norm=ball.norm, space=space)

    # One batch of weights x units, so that the program holds the bounds once.
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), agent, unmasked)
    bounds = jax.vmap(jax.vmap(of, (None, 0)), (0, None))(both, units)
    own, in_action_units, in_dense_units, whole, whole_in_action_units = (
        jax.tree.map(lambda leaf, place=place: leaf[place], bounds)
        for place in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1))
    )
    tv = total_variation(own.tightest(), categorical=categorical)
    dense_tv = total_variation(in_dense_units.tightest(), categorical=categorical)
    expected = {
        name: total_variation(bound, categorical=categorical) for name, bound in own.at_states().items()
    } | {TIGHTEST: tv}
    alive, found = _searched(visits.alive), _found(Victim(agent, space), visits, key, ball)
    return Certified(
        distance=_over_visits(own, visits),
        unmasked=_over_visits(whole, visits),
        unmasked_in_action_units=_over_visits(whole_in_action_units, visits),
        in_action_units=_over_visits(in_action_units, visits),
        in_dense_units=_over_visits(in_dense_units, visits),
        expected_tv={name: discounted_mean(v, visits.alive, discount) for name, v in expected.items()},
        expected_dense_tv=discounted_mean(dense_tv, visits.alive, discount),
        tv=tv,
        most_tv=total_variation(own.anywhere, categorical=categorical),
        found=_mean(found, alive),
        violated={
            name: violations(_searched(bound), found, alive) for name, bound in own.at_states().items()
        },
    )


def violations(
    bound: Float[Array, "state episode"],
    found: Float[Array, "state episode"],
    alive: Bool[Array, "state episode"],
) -> Int[Array, ""]:
    """At how many states an attack found more than the bound allows; one that is NaN allows anything."""
    return jnp.sum(alive & (found > bound), dtype=jnp.int32)


def largest_distance(
    victim: Victim, observation: Float[Array, " obs"], key: PRNGKeyArray, ball: Ball, search: Mad, starts: int
) -> Float[Array, ""]:
    """The largest distance that MAD reaches from several random starts: an estimate, from below.

    In standard deviations of the victim's policy, or the span of the change of the logits.
    """
    x, log_std = victim.to_space(observation), victim.agent.log_std

    def distance(key: PRNGKeyArray) -> Float[Array, ""]:
        s_hat, _ = search.perturb(key, victim, x, ball, ())
        change = victim.output(s_hat) - victim.output(x)
        if log_std is None:
            return jnp.max(change) - jnp.min(change)
        return jnp.sqrt(jnp.sum((change * jnp.exp(-log_std)) ** 2))

    return jnp.max(jax.vmap(distance)(jax.random.split(key, starts)))


def _searched(values: Array) -> Array:
    """Of all steps, those at which an attack searches: bounds and attack are compared at the same states."""
    return values[:: max(1, values.shape[0] // SEARCHED_STATES)]


def _over_visits(distances: Distances, visits: Visits) -> dict[str, Array]:
    """The global bounds as they are; the local ones as their mean over the searched states."""
    alive = _searched(visits.alive)
    return distances.everywhere | {
        name: _mean(_searched(bound), alive) for name, bound in distances.visited.items()
    }


def _mean(values: Array, alive: Array) -> Array:
    return jnp.sum(jnp.where(alive, values, 0.0)) / jnp.sum(alive)


def _found(victim: Victim, visits: Visits, key: PRNGKeyArray, ball: Ball) -> Float[Array, "state episode"]:
    """The largest distance found at each of the searched states."""
    observation = _searched(visits.observation)

    def found(observation: Array, key: PRNGKeyArray) -> Array:
        return largest_distance(victim, observation, key, ball, Mad(), SEARCH_STARTS)

    keys = jax.random.split(key, observation.shape[:-1])
    return jax.vmap(jax.vmap(found))(observation, keys)
