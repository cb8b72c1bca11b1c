"""The smaller network computes what the pruned one does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprune.policy import ACTIVATIONS, agent, compact, kernels
from jaxprune.pruning import SCOPES, masks, score

X = 3 * jax.random.normal(jax.random.key(9), (50, 4))


def pruned(seed, sparsity, scope, activation="tanh"):
    """An agent with biases, of 4 features, 6 and 5 units and 2 actions."""
    return _pruned(seed, sparsity, scope).replace(activation=activation)


@partial(jax.jit, static_argnames="scope")
def _pruned(seed, sparsity, scope):
    fresh = agent.init(jax.random.key(seed), 4, 2, hidden=(6, 5))
    policy = jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), fresh.policy
    )
    scores = score("random").of(kernels(policy), jax.random.key(seed))
    return fresh.replace(policy=policy, mask=masks.lowest_removed(scores, sparsity, scope))


def outputs(one):
    return np.asarray(jax.vmap(one.output)(X))


def widths(one):
    return [layer["bias"].size for layer in one.policy.values()]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    sparsity=st.sampled_from([0.0, 0.2, 0.5, 0.7, 0.9, 0.99]),
    scope=st.sampled_from(SCOPES),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_the_outputs_are_the_same(seed, sparsity, scope, activation):
    before = pruned(seed, sparsity, scope, activation)
    after = compact(before)
    np.testing.assert_allclose(outputs(after), outputs(before), rtol=1e-5, atol=1e-6)
    assert all(new <= old for new, old in zip(widths(after), widths(before), strict=True))
    assert after.mask is None


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8])
def test_of_pruned_units_none_is_left(sparsity):
    after = compact(pruned(0, sparsity, "unit"))
    assert widths(after) == [6 - round(6 * sparsity), 5 - round(5 * sparsity), 2]
    assert all((np.asarray(kernel) != 0).all() for kernel in kernels(after.policy).values())


def test_a_unit_that_nothing_moves_becomes_a_bias():
    one = pruned(0, 0.0, "layer")
    mask = one.mask | {"layer_0": one.mask["layer_0"].at[:, 2].set(0.0)}
    before = one.replace(mask=mask)
    after = compact(before)
    assert widths(after) == [5, 5, 2]
    given_by_it = np.tanh(one.policy["layer_0"]["bias"][2]) * one.policy["layer_1"]["kernel"][2]
    np.testing.assert_allclose(
        after.policy["layer_1"]["bias"], one.policy["layer_1"]["bias"] + given_by_it, rtol=1e-5
    )
    np.testing.assert_allclose(outputs(after), outputs(before), rtol=1e-5, atol=1e-6)


def test_what_leads_only_to_units_that_are_left_out_is_left_out():
    one = pruned(0, 0.0, "layer")
    mask = one.mask | {
        "layer_1": one.mask["layer_1"].at[3, 1:].set(0.0),  # unit 3 leads to unit 0 alone
        "layer_2": one.mask["layer_2"].at[0].set(0.0),  # from which nothing leads
    }
    assert widths(compact(one.replace(mask=mask))) == [5, 4, 2]


def test_with_everything_removed_one_unit_of_each_layer_and_the_constant_output_are_left():
    one = pruned(0, 0.0, "layer")
    before = one.replace(mask=jax.tree.map(jnp.zeros_like, one.mask))
    after = compact(before)
    assert widths(after) == [1, 1, 2]
    np.testing.assert_array_equal(outputs(after), outputs(before))


def test_the_agent_given_is_not_changed():
    one = pruned(0, 0.6, "unit")
    copies = jax.tree.map(np.array, one)
    compact(one)
    jax.tree.map(np.testing.assert_array_equal, one, copies)
