"""A member learns from its own seed alone, and each iteration is put together as it should be."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make
from jaxprune.policy import Agent, kernels
from jaxprune.policy import normalizer as normalizers
from jaxprune.pruning import schedule, score
from jaxprune.training import experience, ppo
from jaxprune.training import learner as learners
from jaxprune.training.arms import read_arm
from jaxprune.training.rollout import Trajectory
from tests.training.populations import TINY, alone, hyperparameters, numbers, together

HORIZON, ITERATIONS = 4, 5
SEEDS, SPARSITIES = np.array([0, 1, 0, 1]), np.array([0.0, 0.0, 0.7, 0.7])
ENV = make("probe/linear", horizon=HORIZON)


@pytest.fixture(name="population", scope="module")
def _population():
    """(members, progress [member, iteration])"""
    return together(ENV, TINY, SEEDS, SPARSITIES, iterations=ITERATIONS)


@pytest.fixture(name="single", scope="module")
def _single():
    """The member of seed 1 at sparsity 0.7, trained alone."""
    return alone(ENV, TINY, 1, 0.7, iterations=ITERATIONS)


# --- members and their places ---------------------------------------------------------------------------


def test_a_member_of_a_population_is_what_it_would_be_alone(population, single):
    # Batched matrix products add in another order: float32 rounding, here over 20 gradient steps.
    for stacked, lone in zip(numbers(population), numbers(single), strict=True):
        np.testing.assert_allclose(stacked[3], lone, rtol=1e-4, atol=1e-5)


def test_a_members_place_does_not_matter(population):
    order = np.array([2, 0, 3, 1])
    permuted = together(ENV, TINY, SEEDS[order], SPARSITIES[order], iterations=ITERATIONS)
    for here, there in zip(numbers(population), numbers(permuted), strict=True):
        np.testing.assert_allclose(np.asarray(here)[order], there, rtol=1e-5, atol=1e-6)


def test_members_of_one_seed_start_from_the_same_weights_and_states():
    def init(seed, sparsity):
        return learners.init(ENV, TINY, jax.random.key(seed), sparsity, hyperparameters())

    first = jax.jit(jax.vmap(init))(jnp.asarray(SEEDS), jnp.asarray(SPARSITIES, jnp.float32))
    for leaf in numbers((first.agent, first.workers, first.key)):
        np.testing.assert_array_equal(leaf[0], leaf[2])
    kernel = first.agent.policy["layer_0"]["kernel"]
    assert not np.any(kernel[0] == kernel[1]), "two seeds share a weight"


# --- what an iteration brings ---------------------------------------------------------------------------


def test_every_finished_episode_is_counted(population):
    _, progress = population
    each = TINY.steps // HORIZON
    assert np.all(progress.episodes == each)
    assert np.all(progress.length_sum == each * HORIZON)
    assert not np.any(progress.failed)


def test_the_sparsity_follows_the_schedule_and_ends_exactly(population):
    _, progress = population
    sizes = [4 * 8, 8 * 1]
    for target, found in zip(SPARSITIES, np.asarray(progress.sparsity), strict=True):
        asked = [schedule("micro").sparsity(float(target), (i + 1) / ITERATIONS) for i in range(ITERATIONS)]
        wanted = [sum(round(float(share) * size) for size in sizes) / sum(sizes) for share in asked]
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_value_network_loses_the_smallest_of_the_weights_it_has_just_learned():
    """After the first of five iterations, at the sparsity that the schedule asks for then."""
    recipe = TINY.replace(networks="both")
    hyper = hyperparameters(learning_rate=0.05)
    before = learners.init(ENV, recipe, jax.random.key(0), jnp.float32(0.7), hyper)
    iterate = jax.jit(learners.iterate, static_argnums=(0, 1, 4))
    after = iterate(ENV, recipe, before, jnp.int32(0), ITERATIONS)[0].agent
    share = float(schedule("micro").sparsity(0.7, 1 / ITERATIONS))
    as_it_was = kernels(before.agent.value)
    for name, kernel in kernels(after.value).items():
        size, gone = np.abs(kernel), np.asarray(after.value_mask[name]) == 0
        assert gone.sum() == round(share * size.size) > 0
        assert size[gone].max() <= size[~gone].min()
        earlier = np.abs(as_it_was[name])
        assert earlier[gone].max() > earlier[~gone].min(), "the weights before say the same"


def test_the_filter_has_seen_every_observation_once(population):
    member, _ = population
    np.testing.assert_array_equal(member.agent.normalizer.count, ITERATIONS * TINY.steps)


def test_in_its_first_epoch_a_pruned_member_learns_from_its_own_actions():
    # ratio 1: the policy that acted, mask and filter included, is the one the loss starts from
    recipe = TINY.replace(epochs=1, minibatches=1, schedule=schedule("static"), score=score("random"))
    _, progress = alone(ENV, recipe, 0, 0.5, iterations=2, learning_rate=0.05)
    np.testing.assert_allclose(progress.update.kl, 0.0, atol=1e-6)
    np.testing.assert_array_equal(progress.update.clip_fraction, 0.0)


def test_the_learning_rate_falls_linearly_or_not_at_all(monkeypatch, single):
    def reveal(agent, state, batch, hyper, learning_rate, key, **_):
        zero = jnp.zeros(())
        return agent, state, ppo.Diagnostics(zero, zero, zero, kl=learning_rate, clip_fraction=zero)

    monkeypatch.setattr(ppo, "update", reveal)
    member, _ = single

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def rate(anneal, iteration):
        hyper = hyperparameters(learning_rate=0.1).replace(anneal=anneal)
        return learners.iterate(ENV, TINY, member.replace(hyper=hyper), iteration, 4)[1].update.kl

    found = np.stack([rate(jnp.asarray([1.0, 0.0, 0.5]), jnp.int32(i)) for i in range(4)], axis=1)
    np.testing.assert_allclose(
        found, [[0.1, 0.075, 0.05, 0.025], [0.1, 0.1, 0.1, 0.1], [0.1, 0.0875, 0.075, 0.0625]], rtol=1e-6
    )


# --- rewards and advantages -----------------------------------------------------------------------------


def recorded(reward, finished, **fields):
    """A trajectory [time, env] of which only some fields matter."""
    flags = jnp.asarray(finished)
    nothing = jnp.zeros(flags.shape)
    known = {
        "observation": nothing[..., None],
        "action": nothing[..., None],
        "log_prob": nothing,
        "reward": jnp.asarray(reward, jnp.float32),
        "next_observation": nothing[..., None],
        "terminated": flags & False,
        "truncated": flags,
        "failed": flags & False,
        "episode_return": nothing,
        "episode_length": nothing.astype(jnp.int32),
    }
    return Trajectory(**known | fields)


def test_rewards_are_divided_by_the_running_std_of_the_discounted_return(single):
    rng = np.random.default_rng(0)
    rewards, ends = rng.normal(2.0, 3.0, (2, 6, 2)).astype(np.float32), rng.random((2, 6, 2)) < 0.3
    member = single[0].replace(
        returns=normalizers.init(()), discounted=jnp.zeros(2), hyper=hyperparameters(discount=0.9)
    )
    running, seen = np.zeros(2), []
    for reward, end in zip(rewards, ends, strict=True):
        returns, discounted, scaled = learners.scale_reward(member, recorded(reward, end))
        member = member.replace(returns=returns, discounted=discounted)
        for r, e in zip(reward, end, strict=True):
            running = 0.9 * running + r
            seen.append(running)
            running = np.where(e, 0.0, running)
        np.testing.assert_allclose(scaled, reward / np.std(seen), rtol=1e-4)
        np.testing.assert_allclose(discounted, running, rtol=1e-4)


def test_a_scaled_reward_is_at_most_ten(single):
    reward = np.zeros((400, 1), np.float32)
    reward[7] = -50.0
    member = single[0].replace(
        returns=normalizers.init(()), discounted=jnp.zeros(1), hyper=hyperparameters(discount=0.0)
    )
    _, _, scaled = learners.scale_reward(member, recorded(reward, reward < 0))
    assert scaled[7, 0] == -10.0


def test_a_truncation_is_bootstrapped_from_the_true_final_observation():
    # V(s) = s; the second step leads to 7, where the horizon cuts, and the reset to 30.
    linear = {"layer_0": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}}
    agent = Agent(linear, jnp.zeros(1), linear, normalizers.init((1,)))
    trajectory = recorded(
        reward=[[1.0], [1.0], [1.0]],
        finished=[[False], [True], [False]],
        observation=jnp.asarray([1.0, 2.0, 3.0])[:, None, None],
        next_observation=jnp.asarray([2.0, 7.0, 4.0])[:, None, None],
    )
    hyper = hyperparameters(discount=0.5, gae_lambda=0.5)
    seen = experience.transitions(agent, trajectory, trajectory.reward, hyper, (), jax.random.key(0))
    batch = experience.batch(seen, trajectory, hyper)
    deltas = [1 + 0.5 * 2 - 1, 1 + 0.5 * 7 - 2, 1 + 0.5 * 4 - 3]
    wanted = np.array([deltas[0] + deltas[1] / 4, deltas[1], deltas[2]])
    values = np.array([1, 2, 3])
    np.testing.assert_allclose(batch.advantage, wanted, rtol=1e-6)
    np.testing.assert_allclose(batch.value_target, wanted + values, rtol=1e-6)


# --- what is shown instead of the truth -----------------------------------------------------------------


def test_what_was_shown_is_learned_from_and_an_end_is_worth_what_was_true_there():
    # V(s) = s. Of five steps the second is cut by the horizon at 7, and the fourth ends the task.
    linear = {"layer_0": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}}
    agent = Agent(linear, jnp.zeros(1), linear, normalizers.init((1,)))
    terminated = jnp.asarray([False, False, False, True, False])[:, None]
    trajectory = recorded(
        reward=np.ones((5, 1)),
        finished=[[False], [True], [False], [False], [False]],
        terminated=terminated,
        observation=jnp.asarray([1.0, 2.0, 3.0, 4.0, 5.0])[:, None, None],
        next_observation=jnp.asarray([2.0, 7.0, 4.0, 8.0, 6.0])[:, None, None],
        s_hat=jnp.asarray([1.5, 2.5, 3.5, 4.5, 5.5])[:, None, None],
    )
    hyper = hyperparameters(discount=0.5, gae_lambda=0.0)
    seen = experience.transitions(agent, trajectory, trajectory.reward, hyper, (), jax.random.key(0))
    np.testing.assert_array_equal(seen.x, trajectory.observation)
    np.testing.assert_array_equal(seen.x_next, trajectory.next_observation)
    following = np.array([2.5, 7.0, 4.5, 0.0, 6.0])
    np.testing.assert_allclose(seen.next_value[:, 0], following, rtol=1e-6)
    batch = experience.batch(seen, trajectory, hyper)
    np.testing.assert_array_equal(batch.x, trajectory.s_hat[:, 0])
    np.testing.assert_allclose(batch.value_target, 1 + 0.5 * following, rtol=1e-6)
    shown = np.asarray(trajectory.s_hat[:, 0, 0])
    np.testing.assert_allclose(batch.advantage, 1 + 0.5 * following - shown, rtol=1e-6)


def test_the_budget_of_what_is_shown_is_that_at_the_beginning_and_the_filter_sees_the_truth(
    monkeypatch, single
):
    """The third of four iterations of an arm whose budget grows to 0.5, with an experience that is given."""
    shape, rng = (TINY.unroll, TINY.environments), np.random.default_rng(0)
    observation, following, s_hat = (jnp.asarray(rng.normal(i, 1, (*shape, 4))) for i in range(3))
    given = recorded(
        rng.normal(size=shape),
        np.zeros(shape, bool),
        observation=observation,
        next_observation=following,
        s_hat=s_hat,
        action=jnp.zeros((*shape, 1)),
    )
    arm, told = read_arm("noise:eps=0.5:ramp=1"), {}

    def rollout(world, agent, workers, key, length, show):
        x = jnp.zeros((50, 4))
        told["largest"] = jnp.abs(jax.vmap(show)(jax.random.split(key, 50), x)).max()
        return workers, given

    def update(agent, state, batch, hyper, learning_rate, key, **asked):
        zero = jnp.zeros(())
        told["learned from"], told["progress"] = batch.x, asked["progress"]
        return agent, state, ppo.Diagnostics(*[zero] * 5)

    monkeypatch.setattr(learners, "rollout", rollout)
    monkeypatch.setattr(ppo, "update", update)
    fresh = single[0].agent.replace(normalizer=normalizers.init((4,)))
    member = single[0].replace(agent=fresh, hyper=hyperparameters(regularizers=arm.leaves))

    @jax.jit
    def iterate(iteration):
        after, _ = learners.iterate(ENV, TINY.replace(chosen=arm.chosen), member, iteration, 4)
        return after.agent.normalizer, told

    seen, told = iterate(jnp.int32(2))
    assert 0.24 < told["largest"] <= 0.25
    np.testing.assert_allclose(told["progress"], (0.5, 0.75), rtol=1e-6)
    np.testing.assert_array_equal(told["learned from"], s_hat.reshape(-1, 4))
    np.testing.assert_allclose(seen.mean, observation.mean((0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen.variance, observation.var((0, 1)), rtol=1e-4)


# --- a member that leaves the finite numbers -----------------------------------------------------------


@pytest.mark.parametrize("where", ["policy", "value", "returns"])
def test_a_member_that_diverges_is_frozen_where_it_was_and_marked(where, population):
    """From iteration 2 on, one member's statistics or weights are NaN; the others do not change by a bit."""

    def poisoned(members):
        if where == "returns":
            mean = members.returns.mean.at[1].set(jnp.nan)
            return members.replace(returns=members.returns.replace(mean=mean))
        network = getattr(members.agent, where)
        bias = network["layer_0"]["bias"].at[1, 0].set(jnp.nan)
        changed = network | {"layer_0": network["layer_0"] | {"bias": bias}}
        return members.replace(agent=members.agent.replace(**{where: changed}))

    @jax.jit
    def step(members, iteration):
        def one(member):
            return learners.iterate(ENV, TINY, member, iteration, ITERATIONS)

        return jax.vmap(one)(members)

    start, _ = step(population[0], 0)
    healthy, hurt = start, poisoned(start)
    frozen = hurt
    for iteration in (1, 2):
        healthy, _ = step(healthy, iteration)
        hurt, progress = step(hurt, iteration)
        np.testing.assert_array_equal(progress.diverged, [False, True, False, False])
        np.testing.assert_array_equal(progress.episodes == 0, [False, True, False, False])
    np.testing.assert_array_equal(hurt.diverged, [False, True, False, False])
    others = np.array([0, 2, 3])
    for whole, part, kept in zip(numbers(healthy), numbers(hurt), numbers(frozen), strict=True):
        np.testing.assert_array_equal(np.asarray(part)[others], np.asarray(whole)[others])
        if part.dtype != bool:
            np.testing.assert_array_equal(part[1], kept[1])


def test_whole_numbers_and_keys_are_always_finite():
    tree = (jnp.ones(2), jax.random.key(0), jnp.int32(3))
    assert learners.all_finite(tree)
    assert not learners.all_finite((*tree, jnp.asarray([0.0, jnp.inf])))


@pytest.mark.parametrize("where", ["budgets", "critics", "ranking", "adversary"])
def test_what_an_arm_carries_freezes_a_member_too_where_it_is_not_finite(where, monkeypatch, single):
    member, progress = single
    carried = member if where == "adversary" else {"arm": jnp.ones(2)}
    before = member.replace(**{where: carried})
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, carried.agent if where == "adversary" else carried)
    broken = member.replace(agent=broken) if where == "adversary" else broken
    brought = jax.tree.map(lambda leaf: leaf[0], progress)
    monkeypatch.setattr(learners, "_iterate", lambda *_: (before.replace(**{where: broken}), brought))
    after, told = learners.iterate(ENV, TINY, before, jnp.int32(0), ITERATIONS)
    assert after.diverged and told.diverged and told.episodes == 0
    for found, wanted in zip(numbers(getattr(after, where)), numbers(carried), strict=True):
        np.testing.assert_array_equal(found, wanted)
