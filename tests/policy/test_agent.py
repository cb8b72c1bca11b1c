"""An agent filters what it observes, and acts and values by its networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.policy import Agent, Categorical, Gaussian, Normalizer, kernels
from jaxprune.policy import agent as agents

OBS, ACT = 2, 1


def linear(*weights):
    return {"layer_0": {"kernel": jnp.asarray(weights), "bias": jnp.zeros(len(weights[0]))}}


@pytest.fixture(name="agent")
def _agent():
    """`mu(x) = 2 x_0 - x_1`, `V(x) = x_0 + 3 x_1`, mean (1, -1), variance (4, 9)."""
    return Agent(
        policy=linear([2.0], [-1.0]),
        log_std=jnp.asarray([-0.5]),
        value=linear([1.0], [3.0]),
        normalizer=Normalizer(jnp.asarray([1.0, -1.0]), jnp.asarray([4.0, 9.0]), jnp.float32(10.0)),
    )


def test_an_observation_is_normalised_by_the_filter(agent):
    np.testing.assert_allclose(agent.normalise(jnp.asarray([3.0, 5.0])), [1.0, 2.0], rtol=1e-6)


def test_the_policy_reads_the_normalised_observation(agent):
    x = agent.normalise(jnp.asarray([3.0, 5.0]))
    np.testing.assert_allclose(agent.output(x), [0.0], atol=1e-6)


def test_the_value_network_has_its_own_weights(agent):
    np.testing.assert_allclose(agent.state_value(jnp.asarray([1.0, 2.0])), 7.0)


def test_an_agent_with_a_spread_acts_by_a_gaussian(agent):
    found = agent.distribution(jnp.asarray([1.0, 0.0]))
    assert isinstance(found, Gaussian)
    np.testing.assert_allclose(found.mean, [2.0])
    np.testing.assert_allclose(found.log_std, [-0.5])


def test_an_agent_without_a_spread_acts_by_a_categorical(agent):
    found = agent.replace(policy=linear([2.0, 0.0], [0.0, 1.0]), log_std=None).distribution(jnp.ones(OBS))
    assert isinstance(found, Categorical)
    np.testing.assert_allclose(found.logits, [2.0, 1.0])


def test_the_activation_is_the_agents():
    agent = agents.init(jax.random.key(0), OBS, ACT, hidden=(4,), activation="relu")
    kernel = {"kernel": jnp.ones((OBS, 4)), "bias": jnp.zeros(4)}
    agent = agent.replace(value={"layer_0": kernel, "layer_1": linear(*[[1.0]] * 4)["layer_0"]})
    np.testing.assert_allclose(agent.state_value(jnp.asarray([-1.0, 0.0])), 0.0)
    np.testing.assert_allclose(agent.state_value(jnp.asarray([3.0, 0.0])), 12.0)


@pytest.mark.parametrize("discrete", [False, True])
def test_a_fresh_policy_prefers_nothing_yet(discrete):
    agent = agents.init(jax.random.key(0), 5, 3, discrete=discrete, hidden=(8,))
    assert np.abs(agent.output(jnp.ones(5))).max() < 0.05
    if not discrete:
        np.testing.assert_array_equal(agent.log_std, np.zeros(3))


def test_policy_and_value_start_from_different_draws():
    agent = agents.init(jax.random.key(0), 5, 1, hidden=(8,))
    assert not np.allclose(agent.policy["layer_0"]["kernel"], agent.value["layer_0"]["kernel"])


def test_a_member_of_a_population_starts_as_it_would_alone():
    def init(key):
        return agents.init(key, 5, 3, hidden=(8,))

    keys = jax.random.split(jax.random.key(0), 10)
    population = jax.jit(jax.vmap(init))(keys)
    alone = jax.jit(init)(keys[7])
    for stacked, leaf in zip(jax.tree.leaves(population), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(stacked[7], leaf, atol=1e-6)


def deep_agent():
    agent = agents.init(jax.random.key(1), OBS, ACT, hidden=(5, 4))
    seen = Normalizer(jnp.asarray([1.0, -1.0]), jnp.asarray([4.0, 9.0]), jnp.float32(10.0))
    policy = jax.tree.map(lambda leaf: 2.0 * leaf + 0.1, agent.policy)
    return agent.replace(policy=policy, normalizer=seen)


def test_the_weights_in_another_filter_are_scaled_and_shifted(agent):
    other = Normalizer(jnp.asarray([3.0, 2.0]), jnp.asarray([16.0, 1.0]), jnp.float32(5.0))
    first = agents.in_filter(agent, other).policy["layer_0"]
    # (d' / d) = (2, 1/3) and (m' - m) / d = (1, 1).
    np.testing.assert_allclose(first["kernel"], [[4.0], [-1 / 3]], rtol=1e-6)
    np.testing.assert_allclose(first["bias"], [2.0 - 1.0], rtol=1e-6)


def test_an_agent_in_another_filter_is_the_same_function_of_raw_observations():
    agent = deep_agent()
    other = Normalizer(jnp.asarray([2.0, -3.0]), jnp.asarray([1.0, 25.0]), jnp.float32(7.0))
    moved = agents.in_filter(agent, other)
    raw = np.random.default_rng(0).uniform([-5, -20], [8, 10], size=(50, OBS)).astype(np.float32)

    def seen_by(one):
        x = jax.vmap(one.normalise)(jnp.asarray(raw))
        assert np.abs(x).max() < 10  # inside the clip of both
        return jax.vmap(one.output)(x), jax.vmap(one.state_value)(x)

    for own, elsewhere in zip(seen_by(agent), seen_by(moved), strict=True):
        np.testing.assert_allclose(own, elsewhere, rtol=1e-5, atol=1e-5)


def test_an_agent_in_its_own_filter_does_not_change_by_a_bit():
    agent = deep_agent()
    moved = agents.in_filter(agent, agent.normalizer)
    for one, other in zip(jax.tree.leaves(agent), jax.tree.leaves(moved), strict=True):
        np.testing.assert_array_equal(one, other)


# --- the mask -------------------------------------------------------------------------------------------


def masked_agent(seed=0):
    """A deep agent with about half of its weights removed, and the same one with its weights multiplied."""
    agent, rng = deep_agent(), np.random.default_rng(seed)
    mask = {
        name: jnp.asarray(rng.integers(2, size=kernel.shape), jnp.float32)
        for name, kernel in kernels(agent.policy).items()
    }
    multiplied = {
        name: {"kernel": layer["kernel"] * mask[name], "bias": layer["bias"]}
        for name, layer in agent.policy.items()
    }
    return agent.replace(mask=mask), agent.replace(policy=multiplied)


POINTS = jnp.asarray(np.random.default_rng(1).normal(size=(20, OBS)), jnp.float32)


def test_a_masked_agent_acts_by_its_multiplied_weights():
    agent, multiplied = masked_agent()
    for one in (agent, agent.pruned()):
        np.testing.assert_array_equal(jax.vmap(one.output)(POINTS), jax.vmap(multiplied.output)(POINTS))
        for x in POINTS[:3]:
            np.testing.assert_array_equal(one.distribution(x).mean, multiplied.distribution(x).mean)
            np.testing.assert_array_equal(one.state_value(x), multiplied.state_value(x))
    assert np.any(jax.vmap(agent.output)(POINTS) != jax.vmap(deep_agent().output)(POINTS))


def test_pruned_folds_the_mask_into_the_weights_and_puts_it_away():
    agent, multiplied = masked_agent()
    pruned = agent.pruned()
    assert pruned.mask is None
    for one, other in zip(jax.tree.leaves(pruned), jax.tree.leaves(multiplied), strict=True):
        np.testing.assert_array_equal(one, other)
    assert pruned.pruned() is pruned


def test_unmasked_takes_the_mask_off_and_leaves_the_learned_weights():
    agent, _ = masked_agent()
    for one, other in zip(jax.tree.leaves(agent.unmasked()), jax.tree.leaves(deep_agent()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_members_of_a_population_keep_their_own_masks():
    pairs = [masked_agent(seed) for seed in (0, 1)]
    masked, multiplied = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *kind) for kind in zip(*pairs, strict=True)
    )
    together = jax.vmap(lambda one, x: one.output(x), in_axes=(0, None))
    np.testing.assert_array_equal(together(masked, POINTS[0]), together(multiplied, POINTS[0]))


def test_a_masked_agent_in_another_filter_is_the_multiplied_one_there():
    agent, multiplied = masked_agent()
    other = Normalizer(jnp.asarray([2.0, -3.0]), jnp.asarray([1.0, 25.0]), jnp.float32(7.0))
    moved, wanted = agents.in_filter(agent, other), agents.in_filter(multiplied, other)
    assert moved.mask is None
    for one, leaf in zip(jax.tree.leaves(moved), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(one, leaf)
