"""Scores that are learned for one sparsity, from states and without a simulator."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprune as jp
from jaxprune import job as jobs
from jaxprune import sweep as sweeps
from jaxprune.budget import UNPUBLISHED_EPS
from jaxprune.envs import make
from jaxprune.policy import agent as agents
from jaxprune.policy import kernels, masked
from jaxprune.pruning import masks, schedule, score, scores
from jaxprune.training import hydra, pruning
from jaxprune.training import learner as learners
from tests.training.populations import TINY, hyperparameters

KEY = jax.random.key(0)


def aim(sparsity, eps=0.1, scope="layer"):
    return hydra.Aim(sparsity, scope, eps, KEY)


def kept(agent, x, sparsity, kappa, eps=0.1, scope="layer"):
    """The mask that the learned scores leave."""
    run = jax.jit(lambda agent, x: hydra.learned(agent, x, aim(sparsity, eps, scope), kappa))
    return masks.lowest_removed(jax.tree.map(jnp.abs, run(agent, x)), sparsity, scope)


# --- the loss ----------------------------------------------------------------------------------------------


def linear(weights, std=1.0):
    """The policy with mean w . x."""
    agent = agents.init(KEY, len(weights), 1, hidden=())
    policy = {"layer_0": {"kernel": jnp.asarray(weights, jnp.float32)[:, None], "bias": jnp.zeros(1)}}
    return agent.replace(policy=policy, log_std=jnp.log(jnp.full(1, std)))


X = jax.random.normal(jax.random.key(1), (256, 3))


def test_the_loss_of_a_linear_policy_by_hand():
    agent, eps = linear([2.0, -1.0, 0.5], std=2.0), 0.3
    # The two largest scores keep 2 and 0.5: what is lost is -1 times the second feature.
    s = {"layer_0": jnp.asarray([[0.3], [0.1], [-0.2]])}
    clean = np.mean((1.0 * np.asarray(X)[:, 1]) ** 2) / (2 * 2.0**2)
    at = aim(1 / 3, eps)
    np.testing.assert_allclose(hydra.loss(s, agent, X, at, 0.0), clean, rtol=1e-5)
    # At worst every feature is off by eps; ten steps of eps / 10 from a corner reach 0.8 of that or more.
    worst = (eps * 2.5) ** 2 / (2 * 2.0**2)
    found = (hydra.loss(s, agent, X, at, 3.0) - clean) / 3.0
    assert 0.8**2 * worst <= found <= worst * (1 + 1e-5)


def test_the_mask_is_exact_and_its_slope_is_that_of_the_size():
    s = {"layer_0": jnp.asarray([[0.3], [-0.1], [-0.2]])}
    mask, back = jax.vjp(lambda s: hydra.straight_through(s, 1 / 3, "layer"), s)
    np.testing.assert_array_equal(mask["layer_0"][:, 0], [1, 0, 1])
    (slope,) = back({"layer_0": jnp.asarray([[5.0], [6.0], [7.0]])})
    np.testing.assert_array_equal(slope["layer_0"][:, 0], [5, -6, -7])


def test_the_first_scores_have_the_order_of_the_weights_and_the_scale_of_fresh_ones():
    weights = {"layer_0": jnp.asarray([[1.0, -4.0], [2.0, 0.5]]), "layer_1": jnp.zeros((3, 1))}
    found = hydra.first_scores(weights)
    np.testing.assert_allclose(found["layer_0"], np.sqrt(3) * np.asarray([[0.25, -1], [0.5, 0.125]]))
    np.testing.assert_array_equal(found["layer_1"], np.zeros((3, 1)))


# --- what is learned ---------------------------------------------------------------------------------------


def brittle():
    """2 tanh(x_0 / 2) + 2 tanh(5 x_1), the second feature being small: as useful, but its slope is 10."""
    agent = agents.init(KEY, 2, 1, hidden=(2,), activation="tanh")
    policy = {
        "layer_0": {"kernel": jnp.asarray([[0.5, 0.0], [0.0, 5.0]]), "bias": jnp.zeros(2)},
        "layer_1": {"kernel": jnp.asarray([[2.0], [2.0]]), "bias": jnp.zeros(1)},
    }
    x = jax.random.normal(jax.random.key(2), (512, 2)) * jnp.asarray([1.0, 0.15])
    return agent.replace(policy=policy), x


def paths(mask):
    """Which of the two paths from feature to action are left: the useful, the brittle."""
    return [bool(mask["layer_0"][i, i] * mask["layer_1"][i, 0]) for i in range(2)]


def test_it_removes_a_planted_brittle_path_that_magnitude_keeps():
    agent, x = brittle()
    by_size = masks.lowest_removed(scores.magnitude(kernels(agent.policy)), 0.5, "global")
    assert paths(by_size) == [False, True]
    assert paths(kept(agent, x, 0.5, kappa=1.0, eps=0.2, scope="global")) == [True, False]
    # Without regard to attacks it is the path that does more.
    assert paths(kept(agent, x, 0.5, kappa=0.0, scope="global")) == [False, True]


@pytest.mark.parametrize("discrete", [False, True])
def test_what_it_keeps_is_closer_to_the_whole_policy_than_what_magnitude_keeps(discrete):
    agent = agents.init(jax.random.key(3), 3, 2, discrete=discrete, hidden=(12, 12))
    last = agent.policy["layer_2"]
    agent = agent.replace(policy=agent.policy | {"layer_2": last | {"kernel": 100 * last["kernel"]}})

    def lost(mask, kappa):
        s = jax.tree.map(lambda w, m: m * w, kernels(agent.policy), mask)
        return float(hydra.loss(s, agent, X, aim(0.6, eps=0.3), kappa))

    by_size = masks.lowest_removed(scores.magnitude(kernels(agent.policy)), 0.6)
    clean, robust = (kept(agent, X, 0.6, kappa, eps=0.3) for kappa in (0.0, 1.0))
    assert lost(clean, 0.0) < 0.8 * lost(by_size, 0.0)
    assert lost(robust, 1.0) < min(lost(by_size, 1.0), lost(clean, 1.0))


def test_weights_that_are_gone_already_have_nothing_to_say():
    agent = linear([2.0, -1.0, 0.5]).replace(mask={"layer_0": jnp.asarray([[0.0], [1.0], [1.0]])})
    found = jax.jit(lambda x: hydra.learned(agent, x, aim(0.5), 0.0))(X)["layer_0"]
    assert found[0, 0] == 0
    assert np.all(np.abs(found[1:]) > 0)


def test_a_population_of_sparsities_learns_what_its_members_would_alone():
    agent, x = brittle()
    levels = jnp.asarray([0.25, 0.5])
    together = jax.vmap(lambda s: hydra.learned(agent, x, aim(s, scope="global"), 1.0))(levels)
    for i, level in enumerate(levels):
        alone = hydra.learned(agent, x, aim(level, scope="global"), 1.0)
        for name, leaf in alone.items():
            np.testing.assert_allclose(together[name][i], leaf, rtol=1e-3, atol=1e-4)


# --- in a training, and after one --------------------------------------------------------------------------

ENV = make("probe/linear", horizon=4)
ONESHOT = TINY.replace(schedule=schedule("oneshot"), score=score("hydra"))


def test_in_training_it_is_learned_once_and_the_mask_stays():
    def step(members, iteration):
        return jax.vmap(lambda one: learners.iterate(ENV, ONESHOT, one, iteration, 5))(members)

    start = jax.vmap(
        lambda s: learners.init(ENV, ONESHOT, jax.random.key(0), s, hyperparameters(learning_rate=0.01))
    )(jnp.asarray([0.0, 0.5]))
    text = str(jax.make_jaxpr(step)(start, jnp.int32(0)))
    assert "cond[" in text, "both branches would be paid in every iteration"
    run, seen = jax.jit(step), [start]
    for iteration in range(5):
        seen.append(run(seen[-1], jnp.int32(iteration))[0])
    for done, members in enumerate(seen):
        removed = [(np.asarray(m) == 0).sum((1, 2)).tolist() for m in members.agent.mask.values()]
        assert removed == ([[0, 0], [0, 0]] if done == 0 else [[0, 16], [0, 4]])
        for name, mask in members.agent.mask.items():
            if done:
                np.testing.assert_array_equal(mask, seen[1].agent.mask[name])


def test_in_a_training_it_is_learned_in_the_published_ball_of_the_task(monkeypatch):
    asked = []

    def noted(agent, x, at, kappa):
        asked.append((at.eps, at.scope, kappa))
        return kernels(agent.policy)

    def first():
        return learners.init(ENV, ONESHOT, KEY, jnp.float32(0.5), hyperparameters())

    monkeypatch.setattr(hydra, "learned", noted)
    for published, recipe in ((0.075, ONESHOT), (None, ONESHOT.replace(score=score("hydra-clean")))):
        env = replace(ENV, published_eps=published)
        jax.eval_shape(partial(learners.last_evidence, env, recipe), jax.eval_shape(first))
    assert asked == [(0.075, "layer", 1.0), (UNPUBLISHED_EPS, "layer", 0.0)]


def test_after_training_it_is_learned_for_every_sparsity():
    spec = jp.SweepSpec(
        env="probe/linear",
        sparsities="0,0.5,0.75",
        schedule="posthoc",
        score="hydra",
        steps=64,
        environments=4,
        unroll=8,
        epochs=2,
        minibatches=2,
        hidden=(4,),
    )
    job = sweeps.job(spec)
    training = jax.jit(lambda now: sweeps.segment(job, 2, now))(sweeps.start(job))
    found = sweeps.finished(job, training).agents
    removed = [(np.asarray(m) == 0).sum((1, 2)).tolist() for m in found.mask.values()]
    assert removed == [[0, 8, 12], [0, 2, 3]]
    learner = jax.tree.map(lambda leaf: leaf[0], training.learners[0])
    recipe = jobs.recipe(spec)
    for i, sparsity in enumerate((0.5, 0.75)):
        alone = learner.replace(sparsity=jnp.float32(sparsity))
        seen = learners.last_evidence(job.env, recipe, alone)
        ranking = pruning.rank(recipe, alone, alone.agent, seen)
        mask = pruning.prune(recipe, alone, ranking, 1.0)
        for name, leaf in mask.items():
            np.testing.assert_array_equal(leaf, found.mask[name][i + 1])
    for name, layer in learner.agent.policy.items():
        pruned = masked(learner.agent.policy, jax.tree.map(lambda m: m[1], found.mask))[name]
        np.testing.assert_array_equal(found.pruned().policy[name]["kernel"][1], pruned["kernel"])
        np.testing.assert_array_equal(found.policy[name]["kernel"][1], layer["kernel"])
