"""A mask removes exactly the number of weights that was asked for, those of the lowest scores."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxprune.policy import Agent, kernels, masked, normalizer
from jaxprune.pruning import SCOPES, masks

SHAPES = {"layer_0": (3, 5), "layer_1": (5, 7), "layer_2": (7, 2)}
SIZE = sum(rows * columns for rows, columns in SHAPES.values())

quick = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**32 - 1)
sparsities = st.integers(0, 999).map(lambda i: float(np.float32(i / 1000)))
scopes = pytest.mark.parametrize("scope", SCOPES)

lowest_removed = jax.jit(masks.lowest_removed, static_argnames="scope")


def random_scores(seed, levels=None):
    """Scores per layer; with `levels`, only so many different ones, so that there are ties."""
    rng = np.random.default_rng(seed)
    draw = rng.normal if levels is None else lambda size: rng.integers(levels, size=size)
    return {name: jnp.asarray(draw(size=shape), jnp.float32) for name, shape in SHAPES.items()}


def rounded(sparsity, size):
    """`round(sparsity * size)` in exact arithmetic. Halves are left out: float32 may miss them."""
    exact = Fraction(sparsity) * size
    assume(abs(exact % 1 - Fraction(1, 2)) > Fraction(1, 10_000))
    return round(exact)


def numpy_mask(scores, sparsity):
    """The weights in order of (score, index), the first round(s n) of them removed."""
    flat = np.asarray(scores).ravel()
    mask = np.ones(flat.size)
    for index in sorted(range(flat.size), key=lambda i: (flat[i], i))[: rounded(sparsity, flat.size)]:
        mask[index] = 0.0
    return mask


def concatenated(tree):
    return np.concatenate([np.ravel(leaf) for leaf in tree.values()])


@quick
@given(seed=seeds, sparsity=sparsities)
def test_every_layer_loses_exactly_its_rounded_share(seed, sparsity):
    mask = lowest_removed(random_scores(seed), sparsity, scope="layer")
    for name, (rows, columns) in SHAPES.items():
        assert np.sum(np.asarray(mask[name]) == 0) == rounded(sparsity, rows * columns)


@quick
@given(seed=seeds, sparsity=sparsities)
def test_all_layers_together_lose_exactly_the_rounded_share(seed, sparsity):
    mask = lowest_removed(random_scores(seed), sparsity, scope="global")
    assert np.sum(concatenated(mask) == 0) == rounded(sparsity, SIZE)


@scopes
@pytest.mark.parametrize("level", [i / 10 for i in range(10)])
def test_the_levels_of_a_sweep_are_counted_exactly_at_full_size(level, scope):
    # 17 x 64, 64 x 64 and 64 x 6 weights, the network of walker2d: no share of it ends in a half.
    shapes = ((17, 64), (64, 64), (64, 6))
    sizes = [rows * columns for rows, columns in shapes]
    scores = {f"layer_{i}": jnp.arange(float(n)).reshape(shapes[i]) for i, n in enumerate(sizes)}
    mask = lowest_removed(scores, level, scope=scope)
    removed = [int(np.sum(np.asarray(m) == 0)) for m in mask.values()]
    share = Fraction(str(level))
    if scope == "layer":
        assert removed == [round(share * n) for n in sizes]
    elif scope == "neuron":
        for mask_of_layer in mask.values():
            assert (np.sum(np.asarray(mask_of_layer) == 0, axis=0) == round(share * len(mask_of_layer))).all()
    elif scope == "unit":
        left = 64 - round(share * 64)
        assert removed == [n - kept for n, kept in zip(sizes, (17 * left, left**2, left * 6), strict=True)]
    else:
        assert sum(removed) == round(share * sum(sizes))


@scopes
def test_a_mask_holds_zeros_and_ones_only_in_the_shape_of_the_kernels(scope):
    mask = lowest_removed(random_scores(0), 0.3, scope=scope)
    assert {name: m.shape for name, m in mask.items()} == SHAPES
    assert set(np.unique(concatenated(mask))) == {0.0, 1.0}


@quick
@given(seed=seeds, sparsity=sparsities, levels=st.sampled_from([None, 1, 3]))
def test_the_lowest_scores_of_each_layer_go_and_the_first_of_equals(seed, sparsity, levels):
    scores = random_scores(seed, levels)
    mask = lowest_removed(scores, sparsity, scope="layer")
    for name in SHAPES:
        np.testing.assert_array_equal(np.ravel(mask[name]), numpy_mask(scores[name], sparsity))


@quick
@given(seed=seeds, sparsity=sparsities, levels=st.sampled_from([None, 1, 3]))
def test_the_lowest_scores_of_all_go_and_the_first_of_equals(seed, sparsity, levels):
    scores = random_scores(seed, levels)
    mask = lowest_removed(scores, sparsity, scope="global")
    np.testing.assert_array_equal(concatenated(mask), numpy_mask(concatenated(scores), sparsity))


@quick
@given(seed=seeds, sparsity=sparsities, levels=st.sampled_from([None, 1, 3]))
def test_the_lowest_scores_of_each_neuron_go_and_the_first_of_equals(seed, sparsity, levels):
    scores = random_scores(seed, levels)
    mask = lowest_removed(scores, sparsity, scope="neuron")
    for name, (_, neurons) in SHAPES.items():
        for neuron in range(neurons):
            of_neuron = np.asarray(scores[name])[:, neuron]
            np.testing.assert_array_equal(mask[name][:, neuron], numpy_mask(of_neuron, sparsity))


def erdos_renyi(shapes, kept):
    """Weights kept by layer, with fractions: layers that would have more than they hold are made full."""
    full = set()
    while True:
        rest = kept - sum(rows * columns for name, (rows, columns) in shapes.items() if name in full)
        c = rest / sum(sum(shape) for name, shape in shapes.items() if name not in full)
        more = {name for name, (i, o) in shapes.items() if name not in full and c * (i + o) > i * o}
        if not more:
            return {name: i * o if name in full else c * (i + o) for name, (i, o) in shapes.items()}
        full |= more


@quick
@given(seed=seeds, sparsity=sparsities)
def test_erdos_renyi_keeps_more_of_thin_layers_and_counts_exactly(seed, sparsity):
    scores = random_scores(seed)
    mask = lowest_removed(scores, sparsity, scope="erk")
    kept = SIZE - rounded(sparsity, SIZE)
    assert np.sum(concatenated(mask)) == kept
    for name, wanted in erdos_renyi(SHAPES, kept).items():
        of_layer = np.asarray(mask[name])
        assert abs(of_layer.sum() - wanted) < 1.5
        if 0 < of_layer.sum() < of_layer.size:
            gone = np.asarray(scores[name])[of_layer == 0]
            assert gone.max() <= np.asarray(scores[name])[of_layer == 1].min()


def test_erdos_renyi_of_a_policy_by_hand():
    # 11 x 64, 64 x 64 and 64 x 3 weights keep c 75, c 128 and c 67 of them, the last at most 192.
    shapes = {"layer_0": (11, 64), "layer_1": (64, 64), "layer_2": (64, 3)}
    scores = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    kept = {n: float(m.sum()) for n, m in lowest_removed(scores, 0.5, scope="erk").items()}
    # 2496 kept, 192 of them in the last layer: c = 2304 / 203 = 11.35, but 75 c = 851 is more than 704.
    assert kept == {"layer_0": 704.0, "layer_1": 1600.0, "layer_2": 192.0}


@quick
@given(seed=seeds, sparsity=sparsities)
def test_units_go_as_a_whole_those_of_the_smallest_product_of_norms(seed, sparsity):
    scores = {name: np.asarray(leaf) for name, leaf in random_scores(seed).items()}
    mask = lowest_removed({name: jnp.asarray(leaf) for name, leaf in scores.items()}, sparsity, scope="unit")
    kept = [np.ones(3)]
    for into, out, width in (("layer_0", "layer_1", 5), ("layer_1", "layer_2", 7)):
        product = [
            np.sqrt((scores[into][:, j] ** 2).sum() * (scores[out][j] ** 2).sum()) for j in range(width)
        ]
        kept.append(numpy_mask(np.float32(product), sparsity))
    kept.append(np.ones(2))
    for i, name in enumerate(SHAPES):
        np.testing.assert_array_equal(mask[name], np.outer(kept[i], kept[i + 1]))


@scopes
@quick
@given(seed=seeds, pair=st.tuples(sparsities, sparsities))
def test_what_is_gone_at_one_sparsity_is_gone_at_every_higher_one(scope, seed, pair):
    scores = random_scores(seed, levels=4)
    low, high = (concatenated(lowest_removed(scores, s, scope=scope)) for s in sorted(pair))
    assert np.all(high <= low)


@scopes
def test_one_compilation_serves_every_sparsity(scope):
    run = jax.jit(lambda scores, sparsity: masks.lowest_removed(scores, sparsity, scope))
    for level in np.linspace(0, 0.9, 10, dtype=np.float32):
        run(random_scores(0), level)
    assert run._cache_size() == 1


@scopes
def test_a_population_of_sparsities_gets_the_masks_of_its_members(scope):
    levels = jnp.asarray([0.0, 0.25, 0.5, 0.9])
    scores = random_scores(0)
    together = jax.vmap(lambda s: masks.lowest_removed(scores, s, scope))(levels)
    for i, level in enumerate(levels):
        alone = lowest_removed(scores, level, scope=scope)
        for name in SHAPES:
            np.testing.assert_array_equal(together[name][i], alone[name])


def params(seed):
    rng = np.random.default_rng(seed)
    return {
        name: {
            "kernel": jnp.asarray(rng.normal(size=shape), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=shape[1]), jnp.float32),
        }
        for name, shape in SHAPES.items()
    }


def test_applying_a_mask_zeroes_what_it_removes_and_leaves_the_rest():
    network, mask = params(0), lowest_removed(random_scores(1), 0.4, scope="layer")
    pruned = masked(network, mask)
    for name in SHAPES:
        wanted = np.where(np.asarray(mask[name]) == 1, network[name]["kernel"], 0.0)
        np.testing.assert_array_equal(pruned[name]["kernel"], wanted)


def test_biases_are_never_pruned():
    network = params(0)
    pruned = masked(network, jax.tree.map(jnp.zeros_like, kernels(network)))
    for name in SHAPES:
        np.testing.assert_array_equal(pruned[name]["bias"], network[name]["bias"])


def test_the_dense_mask_removes_nothing():
    network = params(0)
    pruned = masked(network, masks.dense(network))
    for name in SHAPES:
        np.testing.assert_array_equal(pruned[name]["kernel"], network[name]["kernel"])


@scopes
def test_the_achieved_sparsity_is_the_share_of_zero_weights(scope):
    mask = lowest_removed(random_scores(0), 0.37, scope=scope)
    agent = Agent(params(0), None, params(1), normalizer.init((3,)), mask)
    achieved = masks.achieved(agent)
    np.testing.assert_allclose(achieved, np.mean(concatenated(mask) == 0), rtol=1e-6)
    np.testing.assert_allclose(masks.sparsity(mask), achieved, rtol=1e-6)


def test_of_two_pruned_networks_the_sparsity_is_that_of_their_weights_together():
    mask, value_mask = lowest_removed(random_scores(0), 0.25), lowest_removed(random_scores(1), 0.75)
    agent = Agent(params(0), None, params(1), normalizer.init((3,)), mask, value_mask)
    zero = np.concatenate([concatenated(mask), concatenated(value_mask)]) == 0
    for share in (masks.achieved(agent), masks.masked_out(agent)):
        np.testing.assert_allclose(share, zero.mean(), rtol=1e-6)
    only_values = agent.replace(mask=None)
    np.testing.assert_allclose(masks.masked_out(only_values), zero[SIZE:].sum() / (2 * SIZE), rtol=1e-6)
