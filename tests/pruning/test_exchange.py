"""Weights that are exchanged: the smallest go, the most wanted come, and no count ever changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprune.pruning import masks, schedule

SHAPES = {"layer_0": (5, 8), "layer_1": (8, 7), "layer_2": (7, 3)}
SCOPES = ("layer", "neuron", "global", "erk")
ITERATIONS = 10

quick = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 2**32 - 1)
shares = st.integers(0, 999).map(lambda i: float(np.float32(i / 1000)))
exchanged = jax.jit(masks.exchanged, static_argnames="scope")


def drawn(rng, shapes=SHAPES, levels=None):
    """A number per weight; with `levels`, only so many different ones, so that there are ties."""
    draw = rng.normal if levels is None else lambda size: rng.integers(levels, size=size)
    return {name: jnp.asarray(draw(size=shape), jnp.float32) for name, shape in shapes.items()}


def by_sorting(mask, size, wanted, share):
    """The mask of a list of weights, by going through them in order."""
    alive = [i for i in range(len(mask)) if mask[i] == 1]
    going = sorted(alive, key=lambda i: (size[i], i))[: round(np.float32(share) * len(alive))]
    others = [i for i in range(len(mask)) if mask[i] == 0 or i in going]
    coming = sorted(others, key=lambda i: (wanted[i], i))[len(others) - len(going) :]
    return [float((mask[i] == 1 and i not in going) or i in coming) for i in range(len(mask))]


@quick
@given(seed=seeds, share=shares, levels=st.sampled_from([None, 3]))
def test_the_smallest_go_and_the_most_wanted_of_the_others_come(seed, share, levels):
    rng = np.random.default_rng(seed)
    size, wanted = drawn(rng, levels=levels), drawn(rng, levels=levels)
    mask = {name: jnp.asarray(rng.integers(2, size=shape), jnp.float32) for name, shape in SHAPES.items()}
    found = exchanged(mask, size, wanted, share)
    of_neurons = exchanged(mask, size, wanted, share, scope="neuron")
    for name, (_, neurons) in SHAPES.items():
        old, s, w = (np.asarray(tree[name]) for tree in (mask, size, wanted))
        np.testing.assert_array_equal(
            np.ravel(found[name]), by_sorting(old.ravel(), s.ravel(), w.ravel(), share)
        )
        for neuron in range(neurons):
            wish = by_sorting(old[:, neuron], s[:, neuron], w[:, neuron], share)
            np.testing.assert_array_equal(of_neurons[name][:, neuron], wish)


def history(name, target, scope, seed, iterations=ITERATIONS):
    """The masks of a training in which all weights and wishes change at will."""
    rng, when = np.random.default_rng(seed), schedule(name)
    step = jax.jit(when.exchange, static_argnames="scope")
    mask = masks.lowest_removed(drawn(rng), target, scope)
    seen = [mask]
    for done in range(1, iterations + 1):
        mask = step(mask, drawn(rng), drawn(rng), done / iterations, scope=scope)
        seen.append(mask)
    return seen


@pytest.mark.parametrize("scope", SCOPES)
@settings(max_examples=8, deadline=None)
@given(seed=seeds, target=shares)
def test_counts_are_exact_at_every_step_wherever_they_are_counted(scope, seed, target):
    first, *later = history("rigl", target, scope, seed)
    over = 0 if scope == "neuron" else None
    for mask in later:
        assert set(np.unique(np.concatenate([np.ravel(m) for m in mask.values()]))) <= {0.0, 1.0}
        for name, start in first.items():
            np.testing.assert_array_equal(np.sum(mask[name], axis=over), np.sum(start, axis=over))


def test_fewer_and_fewer_are_exchanged_and_none_after_80_percent():
    size = 4000
    alive = {"layer_0": (jnp.arange(size) < size / 2).astype(jnp.float32)[:, None]}
    dead_wanted = {"layer_0": 1.0 - alive["layer_0"]}
    weights = {"layer_0": jnp.ones((size, 1))}
    gone = []
    for progress in (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0):
        after = schedule("set").exchange(alive, weights, dead_wanted, progress)
        gone.append(int(np.sum(alive["layer_0"] > after["layer_0"])))
    # 0.15 (1 + cos(pi t / 0.8)) of 2000: the cosines of 0, 45, 90, 135 and 180 degrees
    assert gone == [600, 512, 300, 88, 0, 0, 0]


def test_negative_weights_go_by_their_size():
    mask = {"layer_0": jnp.asarray([[1.0, 1.0, 1.0, 0.0]])}
    weights = {"layer_0": jnp.asarray([[-3.0, 1.0, 2.0, 0.0]])}
    after = schedule("set").exchange(mask, weights, {"layer_0": jnp.asarray([[0, 0, 0, 1.0]])}, 0.0)
    np.testing.assert_array_equal(after["layer_0"], [[1, 0, 1, 1]])  # round(0.3 * 3) = 1


@pytest.mark.parametrize("scope", SCOPES)
def test_a_population_of_sparsities_gets_the_masks_of_its_members(scope):
    rng = np.random.default_rng(0)
    score, size, wanted = drawn(rng), drawn(rng), drawn(rng)

    def one(target):
        return masks.exchanged(masks.lowest_removed(score, target, scope), size, wanted, 0.3, scope)

    levels = jnp.asarray([0.0, 0.25, 0.5, 0.9])
    together = jax.vmap(one)(levels)
    for i, level in enumerate(levels):
        for name, alone in one(level).items():
            np.testing.assert_array_equal(together[name][i], alone)


# --- a planted sparse teacher ------------------------------------------------------------------------------

FEATURES, PLANTED, ALIVE = 60, 6, 12


def taught(grows, seed):
    """The mean squared error of a sparse linear student, and whether it has every weight of its teacher."""
    rng, when = np.random.default_rng(seed), schedule("rigl")
    x = jnp.asarray(rng.normal(size=(400, FEATURES)), jnp.float32)
    planted = rng.permutation(FEATURES)[:PLANTED]
    teacher = np.zeros((FEATURES, 1), np.float32)
    teacher[planted, 0] = rng.choice([-1, 1], PLANTED) * rng.uniform(0.5, 2, PLANTED)
    y = x @ teacher

    def loss(kernel):
        return jnp.mean((x @ kernel - y) ** 2)

    kernel = jnp.asarray(0.1 * rng.normal(size=teacher.shape), jnp.float32)
    order = {"layer_0": jnp.asarray(rng.uniform(size=teacher.shape), jnp.float32)}
    mask = masks.lowest_removed(order, 1 - ALIVE / FEATURES)
    for done in range(1, 31):
        for _ in range(30):
            kernel = kernel - 0.1 * mask["layer_0"] * jax.grad(loss)(kernel * mask["layer_0"])
        if grows:
            wanted = {"layer_0": jnp.abs(jax.grad(loss)(kernel * mask["layer_0"]))}
            after = when.exchange(mask, {"layer_0": kernel}, wanted, done / 30)
            kernel = jnp.where(after["layer_0"] > mask["layer_0"], 0.0, kernel)
            mask = after
    assert int(np.sum(mask["layer_0"])) == ALIVE
    return float(loss(kernel * mask["layer_0"])), bool(np.all(mask["layer_0"][planted] == 1))


@pytest.mark.parametrize("seed", range(3))
def test_growing_by_gradient_finds_a_planted_teacher_and_a_static_mask_does_not(seed):
    error, found = taught(grows=True, seed=seed)
    assert found and error < 1e-8
    error, found = taught(grows=False, seed=seed)
    assert not found and error > 0.1
