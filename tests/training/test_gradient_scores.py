"""A score may go by what a batch shows, as by gradients, while a policy is trained and after it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprune as jp
from jaxprune import job as jobs
from jaxprune.envs import make
from jaxprune.pruning import schedule, score
from jaxprune.training import experience, ppo
from jaxprune.training import learner as learners
from jaxprune.training.member import UNTRAINED_TAG
from jaxprune.training.rollout import rollout
from tests.training import plain
from tests.training.populations import TINY, hyperparameters

ENV = make("probe/linear", horizon=4)


RECIPE = TINY.replace(schedule=schedule("gradual"), score=score("saliency"))


def batch_of(learner, key, recipe, env=ENV):
    """What the learner sees with this key."""
    policy = learner.agent.pruned()
    _, trajectory = jax.jit(rollout, static_argnums=(0, 4))(env, policy, learner.workers, key, recipe.unroll)
    _, _, reward = learners.scale_reward(learner, trajectory)
    seen = experience.transitions(policy, trajectory, reward, learner.hyper, (), key)
    return experience.batch(seen, trajectory, learner.hyper)


def assert_lowest_removed(mask, scores, sparsity):
    """In each layer exactly the rounded share is removed, and no score there is above one that is kept."""
    for name, wanted in scores.items():
        gone = np.asarray(mask[name]) == 0
        assert gone.sum() == round(sparsity * wanted.size)
        assert wanted[gone].max() <= wanted[~gone].min() + 1e-3 * wanted.max()


def numpy_saliency(agent, slopes):
    return {name: np.abs(np.asarray(agent.policy[name]["kernel"]) * slope) for name, slope in slopes.items()}


def half_masked(learner, seed):
    rng = np.random.default_rng(seed)
    mask = {
        name: jnp.asarray(rng.integers(2, size=m.shape), m.dtype) for name, m in learner.agent.mask.items()
    }
    return learner.replace(agent=learner.agent.replace(mask=mask))


def test_in_training_the_lowest_scores_under_the_iterations_own_batch_are_removed():
    learner = learners.init(ENV, RECIPE, jax.random.key(0), jnp.float32(0.8), hyperparameters())
    learner = half_masked(learner, 0)
    iterate = jax.jit(learners.iterate, static_argnums=(0, 1, 4))
    after, _ = iterate(ENV, RECIPE, learner, jnp.int32(2), 6)  # half of the training is done then

    batch = batch_of(learner, jax.random.split(learner.key, 3)[1], RECIPE)
    moved = after.agent.replace(mask=learner.agent.mask)
    slopes = plain.gradients(moved, batch, learner.hyper)
    wanted = {
        name: np.abs(np.asarray(moved.policy[name]["kernel"]) * slope) for name, slope in slopes.items()
    }
    assert_lowest_removed(after.agent.mask, wanted, 0.7)
    by_size, _ = iterate(ENV, RECIPE.replace(score=score("magnitude")), learner, jnp.int32(2), 6)
    for name, kernel in after.agent.policy.items():
        np.testing.assert_array_equal(by_size.agent.policy[name]["kernel"], kernel["kernel"])
    assert any(np.any(by_size.agent.mask[name] != mask) for name, mask in after.agent.mask.items())


@pytest.mark.parametrize("when", ["static", "set"])
def test_a_mask_from_the_start_goes_by_a_batch_of_the_untrained_policy(when):
    recipe = RECIPE.replace(schedule=schedule(when))
    started = partial(learners.init, ENV, recipe, jax.random.key(5))
    dense, learner = (started(jnp.float32(share), hyperparameters()) for share in (0.0, 0.7))
    assert all((m == 1).all() for m in dense.agent.mask.values())
    batch = batch_of(dense, jax.random.fold_in(dense.key, UNTRAINED_TAG), recipe)
    wanted = numpy_saliency(dense.agent, plain.gradients(dense.agent, batch, dense.hyper))
    assert_lowest_removed(learner.agent.mask, wanted, 0.7)
    # Nothing else is changed by it, the random streams least of all.
    for a, b in zip(*map(jax.tree.leaves, (learner.agent.unmasked(), dense.agent.unmasked())), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("key", "workers", "returns", "discounted"):
        for a, b in zip(*(jax.tree.leaves(getattr(each, name)) for each in (learner, dense)), strict=True):
            assert (a == b).all()


@pytest.mark.parametrize("by", ["saliency", "grasp", "fisher", "wanda", "magnitude"])
def test_the_mask_of_a_static_schedule_stays_whatever_is_learned(by):
    recipe = RECIPE.replace(schedule=schedule("static"), score=score(by))
    learner = learners.init(ENV, recipe, jax.random.key(1), jnp.float32(0.5), hyperparameters())
    after, _ = jax.jit(learners.iterate, static_argnums=(0, 1, 4))(ENV, recipe, learner, jnp.int32(0), 6)
    for name, mask in after.agent.mask.items():
        np.testing.assert_array_equal(mask, learner.agent.mask[name])
        assert (mask == 0).sum() == round(0.5 * mask.size)
        assert np.any(after.agent.policy[name]["kernel"] != learner.agent.policy[name]["kernel"])


def test_no_other_score_pays_for_gradients(monkeypatch):
    def asked(*_):
        raise AssertionError("gradients were asked for")

    monkeypatch.setattr(ppo, "gradients", asked)
    recipe = RECIPE.replace(score=score("magnitude"))
    learner = learners.init(ENV, recipe, jax.random.key(0), jnp.float32(0.8), hyperparameters())
    jax.eval_shape(lambda now: learners.iterate(ENV, recipe, now, jnp.int32(0), 6), learner)
    assert learners.last_evidence(ENV, recipe, learner) == {}
    with pytest.raises(AssertionError, match="asked for"):
        learners.last_evidence(ENV, RECIPE, learner)


def test_after_training_they_are_those_of_one_more_batch_of_the_dense_policy():
    spec = jp.SweepSpec(
        env="probe/linear",
        sparsities="0,0.5,0.75",
        seeds=2,
        schedule="posthoc",
        score="saliency",
        steps=64,
        environments=4,
        unroll=8,
        epochs=2,
        minibatches=2,
        hidden=(4,),
    )
    job = jp.sweep.job(spec)
    training = jax.jit(lambda now: jp.sweep.segment(job, 2, now))(jp.sweep.start(job))
    population = jp.sweep.finished(job, training)
    by_size = jp.sweep.finished(
        jp.sweep.job(jp.SweepSpec(**spec.to_dict() | {"score": "magnitude"})), training
    )
    different = False
    for member, (seed, sparsity) in enumerate(zip(job.everyone.seed, job.everyone.sparsity, strict=True)):
        learner = jax.tree.map(lambda leaf, seed=seed: leaf[seed], training.learners[0])
        batch = batch_of(learner, learner.key, jobs.recipe(spec), job.env)
        wanted = numpy_saliency(learner.agent, plain.gradients(learner.agent, batch, learner.hyper))
        mask = {name: leaf[member] for name, leaf in population.agents.mask.items()}
        if sparsity == 0:
            assert all((leaf == 1).all() for leaf in mask.values())
        else:
            assert_lowest_removed(mask, wanted, sparsity)
            different |= any(np.any(by_size.agents.mask[name][member] != m) for name, m in mask.items())
        for name, layer in learner.agent.policy.items():
            np.testing.assert_array_equal(population.agents.policy[name]["kernel"][member], layer["kernel"])
    assert different, "the sizes alone would have given the same masks"
