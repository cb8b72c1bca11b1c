"""Certified actions of a population, on policies whose borders between actions are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxprune.attacks import Victim
from jaxprune.bounds import certified_vote
from jaxprune.certification.smoothing import SmoothingSpec
from jaxprune.certification.voting import certify_votes
from jaxprune.policy import agent as agents
from jaxprune.population import Members

SIGMA = 0.5
MEMBERS = Members(np.array([0, 0]), np.array([0.0, 0.5]), np.array(["ppo"] * 2))
KEYS = jax.random.split(jax.random.key(0), 2)


def half_spaces(*borders):
    """Policies that take action 1 where the first feature is above the border, and action 0 elsewhere."""

    def policy(border):
        agent = agents.init(jax.random.key(0), 2, 2, hidden=(), discrete=True)
        kernel = jnp.array([[0.0, 1.0], [0.0, 0.0]])
        return agent.replace(policy={"layer_0": {"kernel": kernel, "bias": jnp.array([border, 0.0])}})

    return Victim(jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(policy, borders)))


def votes(victims, first_features, count=4000):
    states = np.array([[feature, 3.0] for feature in first_features], np.float32)
    spec = SmoothingSpec(smoothing_sigma=SIGMA, smoothing_votes=count)
    return certify_votes(spec, victims, MEMBERS, np.stack([states, states]), KEYS, 0.99)


def test_the_radius_is_the_distance_to_the_border_from_below():
    table = votes(half_spaces(0.0, 0.0), [-0.6, 0.3, 0.9])
    dense = table.filter(member=0)
    assert dense["action"].to_list() == [0, 1, 1]
    distance = np.array([0.6, 0.3, 0.9])
    np.testing.assert_allclose(dense["share"], norm.cdf(distance / SIGMA), atol=0.03)
    for row in dense.iter_rows(named=True):
        counts = np.array([row["share"], 1 - row["share"]]) * 4000
        vote = certified_vote(np.round(counts).astype(int), sigma=SIGMA, confidence=0.99)
        assert row["radius"] == vote.radius and row["confidence"] == 0.99
    assert (dense["radius"] <= distance).all() and (dense["radius"] > 0.8 * distance - 0.05).all()


@pytest.mark.parametrize("space", ["normalised", "raw"])
def test_votes_are_cast_in_the_space_asked_for(space):
    """Behind a filter of mean 1 and deviation 2 the border is 0.5 from raw 2 and 0, in raw units 1."""
    one = half_spaces(0.0, 0.0).agent
    wide = one.normalizer.replace(mean=jnp.ones((2, 2)), variance=jnp.full((2, 2), 4.0))
    table = votes(Victim(one.replace(normalizer=wide), space), [2.0, 0.0])
    distance = {"normalised": 0.5, "raw": 1.0}[space]
    assert table["action"].to_list() == [1, 0] * 2 and set(table["space"]) == {space}
    np.testing.assert_allclose(table["share"], norm.cdf(distance / SIGMA), atol=0.03)


def test_a_pruned_policy_stands_beside_its_dense_twin_at_the_same_state():
    table = votes(half_spaces(0.0, 0.7), [0.4])
    dense, pruned = table.iter_rows(named=True)
    assert (dense["action"], pruned["action"]) == (1, 0)
    assert (pruned["dense_action"], pruned["dense_radius"]) == (1, dense["radius"])


def test_the_votes_of_a_member_do_not_depend_on_its_place():
    forward, backward = votes(half_spaces(0.0, 0.2), [0.1]), votes(half_spaces(0.2, 0.0), [0.1])
    assert forward["share"][0] != backward["share"][0]
    states = np.array([[[0.1, 3.0]]] * 2, np.float32)
    spec = SmoothingSpec(smoothing_sigma=SIGMA, smoothing_votes=4000)
    swapped = certify_votes(spec, half_spaces(0.2, 0.0), MEMBERS, states, KEYS[::-1], 0.99)
    assert swapped["share"].to_list() == forward["share"].to_list()[::-1]
