"""One PPO update: advantages, loss and steps against hand-computed values and plain NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxprune.policy import Agent, Normalizer, kernels
from jaxprune.policy import normalizer as normalizers
from jaxprune.training import ppo
from jaxprune.training.arms import read_arm
from jaxprune.training.ppo import Batch, Hyperparameters
from tests.training import plain

OBS, HIDDEN, ACT, ROWS = 3, 5, 2, 32
HYPER = jax.tree.map(jnp.float32, Hyperparameters())
TIME = 12

seeds = st.integers(0, 2**32 - 1)


# --- generalised advantage estimation -------------------------------------------------------------------

HAND = {
    "r_t": jnp.asarray([1.0, 2.0, 3.0]),
    "v_t": jnp.asarray([0.5, 1.0, 1.5]),
    "v_next_t": jnp.asarray([1.0, 1.5, 2.0]),
    "discount": 0.5,
    "gae_lambda": 0.5,
}
NEVER, AT_STEP_TWO = jnp.zeros(3, bool), jnp.asarray([False, True, False])


def test_gae_of_three_steps_by_hand():
    # deltas 1 + 0.5 - 0.5, 2 + 0.75 - 1, 3 + 1 - 1.5; each advantage adds a quarter of the next one
    found = ppo.gae(**HAND, terminated_t=NEVER, truncated_t=NEVER)
    np.testing.assert_allclose(found, [1.0 + 2.375 / 4, 1.75 + 2.5 / 4, 2.5])


def test_gae_gives_a_terminal_state_no_value_and_carries_nothing_over():
    # the second delta is 2 - 1, and the third does not reach it
    found = ppo.gae(**HAND, terminated_t=AT_STEP_TWO, truncated_t=NEVER)
    np.testing.assert_allclose(found, [1.0 + 1.0 / 4, 1.0, 2.5])


def test_gae_bootstraps_a_truncation_and_carries_nothing_over():
    found = ppo.gae(**HAND, terminated_t=NEVER, truncated_t=AT_STEP_TWO)
    np.testing.assert_allclose(found, [1.0 + 1.75 / 4, 1.75, 2.5])


def numpy_gae(r, v, v_next, terminated, truncated, discount, gae_lambda):
    """The definition: the discounted sum of the deltas up to the end of the episode."""
    delta = [r[t] + (0.0 if terminated[t] else discount * v_next[t]) - v[t] for t in range(len(r))]
    advantage = []
    for t in range(len(r)):
        total, weight = 0.0, 1.0
        for k in range(t, len(r)):
            total += weight * delta[k]
            weight *= discount * gae_lambda
            if terminated[k] or truncated[k]:
                break
        advantage.append(total)
    return advantage


@settings(max_examples=30, deadline=None)
@given(seed=seeds, discount=st.floats(0, 1), gae_lambda=st.floats(0, 1))
def test_gae_is_the_discounted_sum_of_deltas_within_an_episode(seed, discount, gae_lambda):
    rng = np.random.default_rng(seed)
    r, v, v_next = rng.normal(size=(3, TIME)).astype(np.float32)
    terminated, truncated = rng.random((2, TIME)) < 0.2
    arguments = (r, v, v_next, terminated, truncated)
    found = jax.jit(ppo.gae)(*map(jnp.asarray, arguments), discount, gae_lambda)
    np.testing.assert_allclose(found, numpy_gae(*arguments, discount, gae_lambda), rtol=1e-4, atol=1e-5)


# --- the loss -------------------------------------------------------------------------------------------


def linear(*weights):
    return {"layer_0": {"kernel": jnp.asarray(weights), "bias": jnp.zeros(len(weights[0]))}}


def by_hand():
    """Policy mean x with unit spread, value 2 x; ratios 1.5 and 0.5, advantages +-3, value errors 1 and 3."""
    agent = Agent(linear([1.0]), jnp.zeros(1), linear([2.0]), normalizers.init((1,)))
    x = jnp.asarray([[1.0], [2.0]])
    log_prob = jnp.asarray(stats.norm.logpdf([0.5, 0.0]) - np.log([1.5, 0.5]), jnp.float32)
    batch = Batch(
        x=x,
        action=x + jnp.asarray([[0.5], [0.0]]),
        log_prob=log_prob,
        advantage=jnp.asarray([5.0, -1.0]),
        value_target=jnp.asarray([1.0, 1.0]),
    )
    return agent, batch


def loss_of(agent, batch, hyper=HYPER):
    return jax.jit(ppo.loss)(ppo.trainable(agent), agent, batch, hyper)


def test_the_policy_loss_by_hand():
    # standardised advantages are 1 and -1: -(min(1.5, 1.2) + min(-0.5, -0.8)) / 2
    _, found = loss_of(*by_hand())
    np.testing.assert_allclose(found.policy_loss, -0.2, rtol=1e-5)


def test_the_value_loss_by_hand():
    # errors 2 - 1 and 4 - 1: 1/2 (1 + 9) / 2
    _, found = loss_of(*by_hand())
    np.testing.assert_allclose(found.value_loss, 2.5, rtol=1e-6)


def test_the_total_loss_by_hand():
    hyper = HYPER.replace(value_weight=jnp.float32(0.4), entropy_weight=jnp.float32(0.1))
    total, _ = loss_of(*by_hand(), hyper)
    np.testing.assert_allclose(total, -0.2 + 0.4 * 2.5 - 0.1 * stats.norm.entropy(), rtol=1e-5)


def test_kl_and_clip_fraction_by_hand():
    # the mean of ratio - 1 - log(ratio) over the ratios 1.5 and 0.5, both outside 1 +- 0.2
    _, found = loss_of(*by_hand())
    np.testing.assert_allclose(found.kl, -np.log(0.75) / 2, rtol=1e-4)
    assert found.clip_fraction == 1.0


def random_network(rng, *sizes):
    return {
        f"layer_{i}": {
            "kernel": jnp.asarray(rng.normal(size=sizes[i : i + 2]), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=sizes[i + 1]), jnp.float32),
        }
        for i in range(len(sizes) - 1)
    }


def random_problem(seed, discrete):
    """An agent whose policy has random weights, half of them masked, and a batch from another policy."""
    rng = np.random.default_rng(seed)
    agent = Agent(
        policy=random_network(rng, OBS, HIDDEN, ACT),
        log_std=None if discrete else jnp.asarray(rng.normal(size=ACT), jnp.float32) / 2,
        value=random_network(rng, OBS, HIDDEN, 1),
        normalizer=Normalizer(jnp.full(OBS, 7.0), jnp.full(OBS, 2.0), jnp.float32(5.0)),
    )
    mask = {
        name: jnp.asarray(rng.random(kernel.shape) < 0.5, jnp.float32)
        for name, kernel in kernels(agent.policy).items()
    }
    action = rng.integers(ACT, size=ROWS) if discrete else rng.normal(size=(ROWS, ACT)).astype(np.float32)
    batch = Batch(
        x=jnp.asarray(rng.normal(size=(ROWS, OBS)), jnp.float32),
        action=jnp.asarray(action),
        log_prob=jnp.asarray(rng.normal(-1.0, 0.5, ROWS), jnp.float32),
        advantage=jnp.asarray(rng.normal(2.0, 3.0, ROWS), jnp.float32),
        value_target=jnp.asarray(rng.normal(size=ROWS), jnp.float32),
    )
    return agent.replace(mask=mask), batch


@pytest.mark.parametrize("discrete", [False, True])
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_the_loss_is_that_of_a_plain_numpy_loop(discrete, seed):
    agent, batch = random_problem(seed, discrete)
    hyper = HYPER.replace(entropy_weight=jnp.float32(0.03), clip=jnp.float32(0.3))
    total, _ = loss_of(agent, batch, hyper)
    np.testing.assert_allclose(total, plain.loss(agent, batch, hyper), rtol=1e-3, atol=1e-4)


def test_shifting_and_scaling_all_advantages_changes_nothing():
    agent, batch = random_problem(0, discrete=False)
    other = batch.replace(advantage=10.0 * batch.advantage + 3.0)
    one, two = (loss_of(agent, b)[0] for b in (batch, other))
    np.testing.assert_allclose(one, two, rtol=1e-4)


# --- the gradients that scores go by ---------------------------------------------------------------------


@pytest.mark.parametrize("discrete", [False, True])
def test_the_gradients_are_the_slopes_of_a_plain_numpy_loop_at_removed_weights_too(discrete):
    agent, batch = random_problem(3, discrete)
    hyper = HYPER.replace(entropy_weight=jnp.float32(0.03))
    found = jax.jit(ppo.gradients)(agent, batch, hyper)
    assert any((mask == 0).any() for mask in agent.mask.values())
    for name, wanted in plain.gradients(agent, batch, hyper).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-3, atol=2e-4)


# --- the update -----------------------------------------------------------------------------------------

update = jax.jit(ppo.update, static_argnames=("epochs", "minibatches"))


def updated(agent, batch, *, rate=0.01, hyper=HYPER, state=None, epochs=2, minibatches=4):
    state = ppo.optimiser(hyper, rate).init(ppo.trainable(agent)) if state is None else state
    key = jax.random.key(0)
    return update(agent, state, batch, hyper, jnp.float32(rate), key, epochs=epochs, minibatches=minibatches)


@pytest.fixture(name="problem", scope="module")
def _problem():
    return random_problem(0, discrete=False)


@pytest.fixture(name="after_momentum", scope="module")
def _after_momentum(problem):
    """An update of the dense policy, whose momentum then meets the mask: (before, after)."""
    agent, batch = problem
    dense, state, _ = updated(agent.unmasked(), batch)
    before = dense.replace(mask=agent.mask)
    return before, updated(before, batch, state=state)[0]


def test_masked_weights_do_not_move_even_with_momentum_from_before(after_momentum):
    before, after = after_momentum
    for name, m in before.mask.items():
        gone = np.asarray(m) == 0
        moved = np.asarray(after.policy[name]["kernel"] != before.policy[name]["kernel"])
        assert not moved[gone].any()


def test_living_weights_move(after_momentum):
    before, after = after_momentum
    for name, m in before.mask.items():
        moved = np.asarray(after.policy[name]["kernel"] != before.policy[name]["kernel"])
        assert moved[np.asarray(m) == 1].all()


def test_biases_log_std_and_the_value_network_move_whatever_is_masked(after_momentum):
    before, after = after_momentum
    for name in before.policy:
        assert np.all(after.policy[name]["bias"] != before.policy[name]["bias"])
    assert np.all(after.log_std != before.log_std)
    assert all(np.any(after.value[name]["kernel"] != before.value[name]["kernel"]) for name in before.value)


def test_masked_weights_of_the_value_network_stay_and_do_nothing(problem):
    agent, batch = problem
    dense, state, _ = updated(agent.unmasked(), batch)
    mask = {
        name: (jnp.arange(k.size) % 3 > 0).reshape(k.shape) * 1.0 for name, k in kernels(dense.value).items()
    }
    before = dense.replace(value_mask=mask)
    after, _, _ = updated(before, batch, state=state)
    for name, m in mask.items():
        moved = np.asarray(after.value[name]["kernel"] != before.value[name]["kernel"])
        np.testing.assert_array_equal(moved, np.asarray(m) == 1)
    huge = {
        name: {
            "kernel": jnp.where(m == 1, before.value[name]["kernel"], 1e3),
            "bias": before.value[name]["bias"],
        }
        for name, m in mask.items()
    }
    of_huge, _, _ = updated(before.replace(value=huge), batch, state=state)
    jax.tree.map(np.testing.assert_array_equal, of_huge.pruned(), after.pruned())


def test_the_observation_filter_is_not_learned(after_momentum):
    before, after = after_momentum
    np.testing.assert_array_equal(after.normalizer.mean, before.normalizer.mean)
    np.testing.assert_array_equal(after.normalizer.variance, before.normalizer.variance)


def sampled_by(agent, batch):
    """The batch with the log-probabilities of the pruned agent itself."""
    policy = jax.vmap(agent.pruned().distribution)(batch.x)
    return batch.replace(log_prob=jax.vmap(lambda p, a: p.log_prob(a))(policy, batch.action))


def test_before_the_first_step_the_ratio_is_one(problem):
    agent, batch = problem
    _, _, found = updated(agent, sampled_by(agent, batch), epochs=1, minibatches=1)
    np.testing.assert_allclose(found.kl, 0.0, atol=1e-6)
    assert found.clip_fraction == 0.0
    np.testing.assert_allclose(found.policy_loss, 0.0, atol=1e-5)


def test_the_first_step_of_adam_is_the_learning_rate_against_the_sign_of_the_gradient(problem):
    agent, batch = problem
    gradient = jax.grad(lambda moved: ppo.loss(moved, agent, batch, HYPER)[0])(ppo.trainable(agent))
    after, _, _ = updated(agent, batch, rate=0.01, epochs=1, minibatches=1)
    step = np.asarray(after.value["layer_0"]["kernel"] - agent.value["layer_0"]["kernel"])
    slope = np.asarray(gradient.value["layer_0"]["kernel"])
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
    clipped = slope * min(1.0, 0.5 / norm)
    np.testing.assert_allclose(step, -0.01 * clipped / (np.abs(clipped) + 1e-5), rtol=1e-3, atol=1e-6)


def test_every_epoch_visits_every_sample_once():
    # With a learning rate of 0 the mean value loss over the minibatches of an epoch is that of the batch.
    agent, batch = random_problem(1, discrete=True)
    _, _, found = updated(agent, batch, rate=0.0)
    np.testing.assert_allclose(found.value_loss, loss_of(agent, batch)[1].value_loss, rtol=1e-5)


def test_members_with_their_own_learning_rates_share_one_compilation(problem):
    agent, batch = problem
    state = ppo.optimiser(HYPER, 0.0).init(ppo.trainable(agent))

    def distance(rate, largest_norm):
        hyper = HYPER.replace(max_gradient_norm=largest_norm)
        key = jax.random.key(0)
        after, _, _ = ppo.update(agent, state, batch, hyper, rate, key, epochs=1, minibatches=2)
        return jnp.abs(after.value["layer_0"]["kernel"] - agent.value["layer_0"]["kernel"]).max()

    run = jax.jit(jax.vmap(distance))
    moved = run(jnp.asarray([0.0, 1e-3, 1e-2]), jnp.asarray([0.5, 0.5, 0.5]))
    assert moved[0] == 0.0 < moved[1] < moved[2]
    np.testing.assert_allclose(moved[2], 10 * moved[1], rtol=0.2)
    run(jnp.asarray([0.1, 0.2, 0.3]), jnp.asarray([0.1, 1.0, 10.0]))
    assert run._cache_size() == 1


def test_a_budget_grows_with_every_minibatch_and_no_two_draw_the_same(problem, monkeypatch):
    """Two arms in an iteration from 0.2 to 0.6 of the training, in 8 minibatches, the ramps as long as it."""
    agent, batch = problem
    arm = read_arm("sa-sgld:eps=1:ramp=1+radial:eps=2:start=0:ramp=1:schedule=linear")

    def reveal(moved, agent, part, hyper, terms):
        (_, one), (_, other) = terms
        first, second = (jax.random.uniform(moment.key) for moment in (one, other))
        told = ppo.Diagnostics(one.eps, one.eps**2, first, kl=first**2, clip_fraction=(first - second) ** 2)
        return 0.0 * moved.log_std.sum(), told

    monkeypatch.setattr(ppo, "loss", reveal)
    state, key, hyper = ppo.still(HYPER, agent), jax.random.key(0), HYPER.replace(regularizers=arm.leaves)
    passes, asked = {"epochs": 2, "minibatches": 4}, {"progress": (0.2, 0.6), "chosen": arm.chosen}
    _, _, found = ppo.update(agent, state, batch, hyper, jnp.float32(0.0), key, **passes, **asked)
    eps = 0.2 + 0.4 * np.arange(8) / 8
    np.testing.assert_allclose(
        (found.policy_loss, found.value_loss), (eps.mean(), (eps**2).mean()), rtol=1e-5
    )
    # Draws between 0 and 1 have a variance of about 1/12, and those of two arms are about 1/6 apart.
    assert found.kl - found.entropy**2 > 0.02 and found.clip_fraction > 0.02
