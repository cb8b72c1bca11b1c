"""What is certified of one agent: which bounds, in which units, at which states."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune import bounds
from jaxprune.attacks import Victim
from jaxprune.budget import Ball
from jaxprune.certification import visited
from jaxprune.certification.policy import discounted_mean, distances, total_variation
from jaxprune.evaluation import Visits
from jaxprune.policy import agent as agents
from jaxprune.policy import kernels, layers
from jaxprune.policy.normalizer import Normalizer
from jaxprune.pruning import masks

EPS, STEPS = 0.1, 120
KEY = jax.random.key(0)


def an_agent(key, spread, discrete=False):
    agent = agents.init(key, 4, 2, hidden=(8,), discrete=discrete)
    policy = jax.tree.map(lambda leaf: 2 * leaf, agent.policy)
    log_std = None if discrete else jnp.array([spread, 0.0])
    return agent.replace(policy=policy, log_std=log_std, mask=masks.lowest_removed(kernels(policy), 0.3))


def seen():
    observation = jax.random.normal(KEY, (STEPS, 2, 4))
    return Visits(observation, jnp.arange(STEPS)[:, None] < jnp.array([STEPS, 31]))


def certified(agent, dense):
    return jax.jit(visited.certify_agent, static_argnums=(5, 6))(
        agent, dense, seen(), KEY, Ball(jnp.float32(EPS)), "normalised", 0.9
    )


MASKED, DENSE = an_agent(KEY, 1.0), an_agent(jax.random.key(1), -1.0)
OWN, WHOLE = MASKED.pruned(), MASKED.unmasked()
GLOBAL = {name for name, bound in bounds.BOUNDS.items() if not bound.local}
CHEAP = {name for name, bound in bounds.BOUNDS.items() if bound.local and bound.cheap}


@pytest.fixture(name="gaussian", scope="module")
def _gaussian():
    return certified(MASKED, DENSE)


def test_every_cheap_bound_is_there_and_above_what_the_attack_found(gaussian):
    assert set(gaussian.distance) == GLOBAL | CHEAP
    for bound in gaussian.distance.values():
        assert bound >= gaussian.found > 0
    assert set(gaussian.violated) == set(gaussian.distance)
    assert not any(gaussian.violated.values())


def test_a_violation_is_counted_state_by_state_where_the_episode_lives():
    """The bound's mean is above the mean found; at two states that count it is below, at one it is NaN."""
    bound = jnp.array([[9.0, 1.0], [0.5, 1.0], [0.5, jnp.nan]])
    found = jnp.array([[1.0, 1.1], [0.6, 0.9], [0.6, 2.0]])
    alive = jnp.array([[True, True], [True, True], [False, True]])
    assert visited.violations(bound, found, alive) == 2


def test_no_state_is_further_apart_than_the_bound_that_holds_everywhere(gaussian):
    assert np.max(gaussian.tv) <= gaussian.most_tv < 1
    smallest = min(gaussian.distance[name] for name in GLOBAL)
    np.testing.assert_allclose(gaussian.most_tv, total_variation(smallest, categorical=False), rtol=1e-2)


def test_a_local_bound_is_the_mean_over_the_searched_states(gaussian):
    where = seen()
    stride = STEPS // visited.SEARCHED_STATES
    states = where.observation[::stride][where.alive[::stride]]
    whole = bounds.in_std_units(layers(OWN.policy), jnp.exp(OWN.log_std))
    bound = jax.jit(jax.vmap(lambda state: bounds.interval_bound(whole, state, EPS).euclidean))(states)
    np.testing.assert_allclose(gaussian.distance["interval"], bound.mean(), rtol=1e-5)


def test_each_variant_has_its_own_weights_and_its_own_units(gaussian):
    for variant, agent, log_std in (
        ("distance", OWN, OWN.log_std),
        ("unmasked", WHOLE, WHOLE.log_std),
        ("in_action_units", OWN, jnp.zeros(2)),
        ("in_dense_units", OWN, DENSE.log_std),
    ):
        bound = bounds.path_bound(bounds.in_std_units(layers(agent.policy), jnp.exp(log_std)), EPS)
        np.testing.assert_allclose(getattr(gaussian, variant)["path"], bound.euclidean, rtol=1e-5)


def test_the_bound_on_tv_is_that_of_the_tightest_at_each_state(gaussian):
    assert gaussian.tv.shape == (STEPS, 2)
    expected = discounted_mean(gaussian.tv, seen().alive, 0.9)
    np.testing.assert_allclose(gaussian.expected_tv["tightest"], expected, rtol=1e-6)
    for name, bound in gaussian.expected_tv.items():
        assert gaussian.expected_tv["tightest"] <= bound, name
    assert gaussian.expected_tv["tightest"] < 0.9 * gaussian.expected_tv["interval"]


def test_a_categorical_agent_is_certified_in_logits():
    agent = an_agent(KEY, 0.0, discrete=True).unmasked()
    states = seen().observation[:3]
    local = {"interval": bounds.BOUNDS["interval"]}
    far = distances(agent, None, states, jnp.float32(EPS), norm="linf", space="normalised", local=local)
    whole = layers(agent.policy)
    assert far.everywhere["path"] == bounds.path_bound(whole, EPS).span
    span = bounds.interval_bound(whole, states[2, 1], EPS).span
    np.testing.assert_allclose(far.visited["interval"][2, 1], span, rtol=1e-5)


@pytest.mark.parametrize("discrete", [False, True])
def test_behind_a_filter_that_changes_nothing_raw_bounds_are_the_normalised_ones(discrete):
    agent = an_agent(KEY, 0.0, discrete=discrete)
    std = None if discrete else jnp.exp(agent.log_std)
    raw, normalised = (
        distances(agent, std, seen().observation[:3], jnp.float32(EPS), norm="linf", space=space)
        for space in ("raw", "normalised")
    )
    for name, bound in normalised.at_states().items():
        np.testing.assert_allclose(raw.at_states()[name], bound, rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(raw.anywhere, normalised.anywhere, rtol=1e-3)


def test_what_holds_anywhere_provides_for_the_rounding_of_states_that_nobody_visited():
    agent = an_agent(KEY, 0.0).unmasked()
    kind = {"norm": "linf", "space": "normalised", "local": {}}
    near, farthest = (
        distances(agent, jnp.ones(2), jnp.full((1, 1, 4), at), jnp.float32(EPS), **kind) for at in (0.0, 1e6)
    )
    assert farthest.error[0, 0] > 1.2 * near.error[0, 0]
    least = min(near.everywhere.values())
    assert near.anywhere == farthest.anywhere >= (least + farthest.error[0, 0]) * (1 - 1e-6)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 4e-5), ("l2", 8e-5)])
def test_bounds_in_raw_units_hold_where_observations_are_rounded_coarsely(norm, eps):
    """Near 1000 float32 has steps of 6.1e-5: a feature moves by that when 4e-5 is added to it."""
    agent = agents.init(KEY, 4, 1, hidden=())
    agent = agent.replace(normalizer=Normalizer(jnp.full(4, 1000.0), jnp.full(4, 1e-6), jnp.ones(())))
    observation = 1000 + 1e-3 * jax.random.normal(KEY, (5, 1, 4))
    bounded = jax.jit(partial(distances, norm=norm, space="raw"))
    far = bounded(agent, jnp.ones(1), observation, jnp.float32(eps))
    corners = jnp.asarray(list(product((-4e-5, 4e-5), repeat=4)), jnp.float32)
    outputs = jax.vmap(jax.vmap(Victim(agent, "raw").output))
    shown, clean = outputs(observation + corners), outputs(observation)
    reached = jnp.max(jnp.abs(shown - clean), axis=(1, 2))
    for name, bound in far.at_states().items():
        assert np.all(bound[:, 0] >= reached), name
    # The bound on the exact network, which has a single layer, is too small.
    assert np.all(far.everywhere["path"] < reached)


@pytest.mark.parametrize(("activation", "missing"), [("swish", {"eclipse"}), ("elu", set())])
def test_a_global_bound_is_left_out_where_the_activation_breaks_it(activation, missing):
    agent = an_agent(KEY, 0.0).unmasked().replace(activation=activation)
    shown, std, eps = jnp.zeros((1, 1, 4)), jnp.ones(2), jnp.float32(EPS)
    far = jax.eval_shape(lambda: distances(agent, std, shown, eps, norm="linf", space="normalised", local={}))
    assert set(far.everywhere) == GLOBAL - missing


def test_where_nothing_is_known_two_policies_may_differ_by_all():
    unknown = jnp.array([jnp.nan, jnp.inf, 0.0])
    for categorical in (False, True):
        tv = total_variation(unknown, categorical=categorical)
        np.testing.assert_allclose(tv, [1, 1, 0], atol=1e-30)
