"""Lottery tickets: what the weights go back to is what they were, bit for bit, and masks only ever lose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make
from jaxprune.pruning import masks, schedule, score
from jaxprune.training import learner as learners
from jaxprune.training import lottery, ppo
from tests.training.populations import TINY, alone, hyperparameters, numbers, together

ENV = make("probe/linear", horizon=4)
RECIPE = TINY.replace(schedule=schedule("lottery"), score=score("movement"))
BY_SIZE = RECIPE.replace(score=score("magnitude"))
ITERATIONS = 10  # rounds of two

iterate = jax.jit(learners.iterate, static_argnums=(0, 1, 4))


def history(recipe):
    """The learner before the first and after every iteration."""
    learner = learners.init(ENV, recipe, jax.random.key(0), jnp.float32(0.75), hyperparameters(anneal=0.0))
    seen = [learner]
    for iteration in range(ITERATIONS):
        learner, progress = iterate(ENV, recipe, learner, jnp.int32(iteration), ITERATIONS)
        assert not progress.diverged
        seen.append(learner)
    return seen


@pytest.fixture(name="seen", scope="module")
def _seen():
    return history(BY_SIZE)


@pytest.fixture(name="fresh", scope="module")
def _fresh():
    return history(BY_SIZE.replace(schedule=schedule("lottery-fresh")))


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(numbers(one), numbers(other), strict=True))


def test_every_round_begins_with_the_early_agent_bit_for_bit_and_a_new_optimiser(seen):
    early = seen[1].agent.unmasked()  # the first iteration that passes 5 %
    assert not equal(early, seen[0].agent.unmasked())
    for done in range(1, ITERATIONS + 1):
        now, rewound = seen[done], done in (2, 4, 6, 8)
        assert equal(now.kept[lottery.EARLY], early)
        if done > 1:
            assert equal(now.agent.unmasked(), early) == rewound
        assert equal(now.optimiser_state, seen[0].optimiser_state) == rewound


def test_every_round_leaves_the_largest_of_the_weights_it_trained(seen):
    sizes = {"layer_0": 32, "layer_1": 8}
    plain = BY_SIZE.replace(schedule=schedule("posthoc"))
    for done in range(1, ITERATIONS + 1):
        before, after = seen[done - 1].agent.mask, seen[done].agent.mask
        if done not in (2, 4, 6, 8):
            assert equal(before, after)
            continue
        trained = iterate(ENV, plain, seen[done - 1], jnp.int32(done - 1), ITERATIONS)[0].agent
        for name, size in sizes.items():
            alive, left = np.asarray(before[name]) == 1, np.asarray(after[name]) == 1
            assert np.all(alive[left])
            assert left.sum() == size - round(size * (1 - 0.25 ** (done / 8)))
            weight = np.abs(np.asarray(trained.policy[name]["kernel"]))
            assert weight[left].min() >= weight[alive & ~left].max() - 1e-6


def test_the_control_has_the_same_masks_and_another_beginning_of_its_last_round(seen, fresh):
    for mine, other in zip(seen[:8], fresh[:8], strict=True):
        for one, same in zip(numbers(mine.agent), numbers(other.agent), strict=True):
            np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-6)
    for mine, other in zip(seen, fresh, strict=True):
        assert equal(mine.agent.mask, other.agent.mask)
    begins = fresh[8].agent.unmasked()
    assert equal(begins, fresh[0].kept[lottery.FRESH])
    assert equal(fresh[8].optimiser_state, fresh[0].optimiser_state)
    for drawn in (seen[0].agent, seen[1].agent):
        kernel = drawn.policy["layer_0"]["kernel"]
        assert not np.any(kernel == begins.policy["layer_0"]["kernel"])


def test_scores_that_build_on_themselves_begin_anew_with_every_round():
    for done, now in enumerate(history(RECIPE)):
        empty = all((leaf == 0).all() for leaf in now.ranking.values())
        assert empty == (done in (0, 2, 4, 6, 8))


def test_the_step_size_falls_in_every_round_from_where_it_was(monkeypatch, seen):
    wanted = [0, 0.5, 0.25, 0.625, 0.25, 0.625, 0.25, 0.625, 0.25, 0.625]
    np.testing.assert_allclose(
        [lottery.pace(i / 10) for i in range(10)], wanted, atol=1e-6
    )  # 5 % of the training are a quarter of the first round

    def reveal(agent, state, batch, hyper, learning_rate, key, **_):
        zero = jnp.zeros(())
        return agent, state, ppo.Diagnostics(zero, zero, zero, kl=learning_rate, clip_fraction=zero)

    monkeypatch.setattr(ppo, "update", reveal)
    learner = seen[0].replace(hyper=hyperparameters(learning_rate=0.1))
    rate = jax.jit(lambda i: learners.iterate(ENV, BY_SIZE, learner, i, ITERATIONS)[1].update.kl)
    found = [rate(jnp.int32(i)) for i in range(ITERATIONS)]
    np.testing.assert_allclose(found, 0.1 * (1 - np.asarray(wanted)), rtol=1e-5)


def test_no_other_schedule_keeps_anything():
    recipe = TINY.replace(schedule=schedule("oneshot"))
    learner = learners.init(ENV, recipe, jax.random.key(0), jnp.float32(0.5), hyperparameters())
    assert learner.kept == {}


def test_a_member_of_a_population_is_what_it_would_be_alone():
    both, progress = together(ENV, RECIPE, np.arange(2), np.array([0.0, 0.75]), iterations=ITERATIONS)
    single, _ = alone(ENV, RECIPE, 1, 0.75, iterations=ITERATIONS)
    for stacked, lone in zip(numbers(both), numbers(single), strict=True):
        np.testing.assert_allclose(stacked[1], lone, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(progress.sparsity[0], 0)
    np.testing.assert_allclose(masks.sparsity(single.agent.mask), 0.75)
