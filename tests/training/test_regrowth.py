"""Masks from the start whose weights are exchanged while a policy is trained: `set` and `rigl`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxprune.envs import make
from jaxprune.policy import kernels
from jaxprune.pruning import schedule, score
from jaxprune.training import learner as learners
from tests.training import plain
from tests.training.populations import TINY, alone, hyperparameters, numbers, together
from tests.training.test_gradient_scores import batch_of

ENV = make("probe/linear", horizon=4)
RECIPES = {
    name: TINY.replace(schedule=schedule(name), score=score("random")) for name in ("set", "rigl", "static")
}
ITERATIONS = 5
SPARSITIES = np.array([0.0, 0.3, 0.7])

iterate = jax.jit(learners.iterate, static_argnums=(0, 1, 4))


def first(name="rigl", sparsity=0.5):
    """A learner after an iteration of its training, so that its moments are not 0."""
    start = learners.init(ENV, RECIPES[name], jax.random.key(3), jnp.float32(sparsity), hyperparameters())
    return iterate(ENV, RECIPES[name], start, jnp.int32(0), ITERATIONS)[0]


def moments(learner):
    adam = next(part for part in learner.optimiser_state if isinstance(part, optax.ScaleByAdamState))
    return kernels(adam.mu.policy), kernels(adam.nu.policy)


@pytest.fixture(name="population", scope="module")
def _population():
    return together(ENV, RECIPES["rigl"], np.arange(3), SPARSITIES, iterations=ITERATIONS)


@pytest.mark.parametrize("name", ["set", "rigl"])
def test_grown_weights_and_their_moments_begin_at_0_and_all_others_are_as_without(name):
    before = first()
    after, _ = iterate(ENV, RECIPES[name], before, jnp.int32(1), ITERATIONS)
    fixed, _ = iterate(ENV, RECIPES["static"], before, jnp.int32(1), ITERATIONS)
    grown_at_all = 0
    for layer, mask in after.agent.mask.items():
        grown = np.asarray(mask) > np.asarray(before.agent.mask[layer])
        grown_at_all += grown.sum()
        found = (kernels(after.agent.policy), *moments(after))
        without = (kernels(fixed.agent.policy), *moments(fixed))
        for new, old in zip(found, without, strict=True):
            assert np.all(np.asarray(new[layer])[grown] == 0)
            # Another program rounds differently.
            kept, wanted = np.asarray(new[layer])[~grown], np.asarray(old[layer])[~grown]
            np.testing.assert_allclose(kept, wanted, rtol=1e-4, atol=1e-7)
        assert np.all(np.asarray(without[0][layer])[grown] != 0), "they were 0 anyway"
    assert grown_at_all >= 3


def test_rigl_lets_those_come_whose_gradients_are_largest():
    before = first()
    after, _ = iterate(ENV, RECIPES["rigl"], before, jnp.int32(1), ITERATIONS)
    moved, _ = iterate(ENV, RECIPES["static"], before, jnp.int32(1), ITERATIONS)
    batch = batch_of(before, jax.random.split(before.key, 3)[1], RECIPES["rigl"])
    slopes = plain.gradients(moved.agent, batch, before.hyper)
    share = 0.15 * (1 + np.cos(np.pi * 0.4 / 0.8))
    for layer, slope in slopes.items():
        old, new = (np.asarray(agent.mask[layer]) for agent in (before.agent, after.agent))
        size = np.where(old == 1, np.abs(np.asarray(moved.agent.policy[layer]["kernel"])), np.inf)
        going = np.argsort(size.ravel(), kind="stable")[: round(share * old.sum())]
        others = np.union1d(np.flatnonzero(old == 0), going)
        coming = others[np.argsort(np.abs(slope).ravel()[others])[len(others) - len(going) :]]
        wish = old.ravel().copy()
        wish[going] = 0
        wish[coming] = 1
        np.testing.assert_array_equal(new.ravel(), wish)


def test_at_random_others_come_in_every_iteration_and_with_every_key():
    before = first()

    def come(learner, iteration=1):
        mask = iterate(ENV, RECIPES["set"], learner, jnp.int32(iteration), ITERATIONS)[0].agent.mask
        return [np.asarray(mask[name]) > np.asarray(learner.agent.mask[name]) for name in mask]

    one, other = come(before), come(before.replace(key=jax.random.key(77)))
    assert any(np.any(a != b) for a, b in zip(one, other, strict=True))
    for a, b in zip(one, come(before), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_iteration_has_the_count_of_the_first_mask(population):
    _, progress = population
    wanted = [sum(round(float(s) * n) for n in (4 * 8, 8 * 1)) / 40 for s in SPARSITIES]
    for found, asked in zip(np.asarray(progress.sparsity), wanted, strict=True):
        np.testing.assert_allclose(found, np.full(ITERATIONS, asked), atol=1e-6)


def test_a_dense_member_is_plain_ppo(population):
    fixed = together(ENV, RECIPES["static"], np.arange(3), SPARSITIES, iterations=ITERATIONS)
    for mine, plain_one in zip(numbers(population), numbers(fixed), strict=True):
        np.testing.assert_allclose(mine[0], plain_one[0], rtol=1e-4, atol=1e-6)
    for name, mask in population[0].agent.mask.items():
        assert np.all(mask[0] == 1)
        assert np.any(mask[2] != fixed[0].agent.mask[name][2])


def test_a_member_of_a_population_is_what_it_would_be_alone(population):
    single = alone(ENV, RECIPES["rigl"], 2, 0.7, iterations=ITERATIONS)
    for stacked, lone in zip(numbers(population), numbers(single), strict=True):
        np.testing.assert_allclose(stacked[2], lone, rtol=1e-4, atol=1e-5)
