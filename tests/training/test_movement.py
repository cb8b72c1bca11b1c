"""A score that builds on what it was: its memory is part of the learner."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make
from jaxprune.pruning import schedule, score
from jaxprune.training import learner as learners
from tests.training import plain
from tests.training.populations import TINY, alone, hyperparameters, numbers, together
from tests.training.test_gradient_scores import assert_lowest_removed, batch_of

ENV = make("probe/linear", horizon=4)
RECIPE = TINY.replace(schedule=schedule("gradual"), score=score("movement"))
ITERATIONS = 4

iterate = jax.jit(learners.iterate, static_argnums=(0, 1, 4))


def first(recipe=RECIPE):
    return learners.init(ENV, recipe, jax.random.key(0), jnp.float32(0.5), hyperparameters())


def test_it_sums_minus_weight_times_gradient_of_every_iteration_and_the_lowest_go():
    learner = first()
    total = {name: np.zeros(mask.shape) for name, mask in learner.agent.mask.items()}
    for iteration in range(ITERATIONS):
        after, _ = iterate(ENV, RECIPE, learner, jnp.int32(iteration), ITERATIONS)
        batch = batch_of(learner, jax.random.split(learner.key, 3)[1], RECIPE)
        moved = after.agent.replace(mask=learner.agent.mask)
        for name, slope in plain.gradients(moved, batch, learner.hyper).items():
            total[name] -= np.asarray(moved.policy[name]["kernel"]) * slope
            np.testing.assert_allclose(after.ranking[name], total[name], rtol=1e-3, atol=1e-6)
        learner = after
        if iteration == 2:  # all weights have gone by then, and the mask is not settled yet
            assert_lowest_removed(learner.agent.mask, total, 0.5)


def test_only_a_score_that_remembers_carries_anything():
    assert set(first().ranking) == {"layer_0", "layer_1"}
    assert all((leaf == 0).all() for leaf in first().ranking.values())
    assert first(RECIPE.replace(score=score("saliency"))).ranking == {}


def test_a_member_of_a_population_is_what_it_would_be_alone():
    both = together(ENV, RECIPE, np.arange(2), np.array([0.0, 0.7]), iterations=ITERATIONS)
    single = alone(ENV, RECIPE, 1, 0.7, iterations=ITERATIONS)
    for stacked, lone in zip(numbers(both), numbers(single), strict=True):
        np.testing.assert_allclose(stacked[1], lone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("where", ["ranking", "agent"])
def test_a_member_whose_scores_leave_the_finite_numbers_is_frozen_with_them(where):
    learner = first()
    hurt = (
        learner.replace(ranking=jax.tree.map(lambda leaf: leaf.at[0, 0].set(jnp.inf), learner.ranking))
        if where == "ranking"
        else learner.replace(agent=learner.agent.replace(log_std=jnp.full(1, jnp.nan)))
    )
    after, progress = iterate(ENV, RECIPE, hurt, jnp.int32(0), ITERATIONS)
    assert progress.diverged and after.diverged
    for new, old in zip(numbers(after.ranking), numbers(hurt.ranking), strict=True):
        np.testing.assert_array_equal(new, old)
