"""The KL arm: the joint dual where its best value is a formula, and where it is found exactly."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import make, tabular
from jaxprune.policy import agent as agents
from jaxprune.policy import normalizer
from jaxprune.training import experience
from jaxprune.training import learner as learners
from jaxprune.training.arms import read_arm
from jaxprune.training.batch import Transitions
from jaxprune.training.member import Learner, Recipe
from jaxprune.training.regularizers import Sizes, kl, state_action
from jaxprune.training.rollout import Trajectory
from tests.training.populations import hyperparameters

MEAN, STD, EPS = 3.0, 2.0, 0.1

LEARN = jax.jit(kl.learn)
AGENT = agents.init(jax.random.key(0), 2, 1, hidden=(4,))
"""It is asked for nothing: the values are told."""


def one_state(next_value: jax.Array) -> Transitions:
    """Transitions from one state with one action to these values."""
    count = next_value.size
    x, zeros = jnp.ones((count, 2)), jnp.zeros(count)
    return Transitions(
        x=x,
        s_hat=x,
        action=jnp.zeros((count, 1)),
        reward=zeros,
        x_next=x,
        terminated=jnp.zeros(count, bool),
        value=zeros,
        next_value=next_value,
    )


def normal(seed: int, count: int) -> Transitions:
    return one_state(MEAN + STD * jax.random.normal(jax.random.key(seed), (count,)))


@cache
def ascended(eps: float) -> tuple[float, float]:
    """Where the arm's own ascent on values N(m, s^2) ends: the mean of the dual, on other draws, and beta."""
    seen, fresh = normal(0, 4096), normal(1, 200_000)
    critic = kl.start(Sizes(2, 1, False, (8,)), jax.random.key(0))
    for key in jax.random.split(jax.random.key(1), 250):
        critic = LEARN(critic, AGENT, seen, 0.9, jnp.float32(eps), key)
    found = jax.vmap(partial(kl.next_value, critic, eps))(fresh).mean()
    beta, _ = kl.multipliers(critic, jax.tree.map(lambda leaf: leaf[0], seen))
    return float(found), float(beta)


def test_the_worst_mean_of_a_normal_distribution_is_its_formula() -> None:
    found, beta = ascended(EPS)
    assert found == pytest.approx(MEAN - STD * np.sqrt(2 * EPS), rel=0.005)  # 2.106
    assert beta == pytest.approx(STD / np.sqrt(2 * EPS), rel=0.03)


def test_a_larger_budget_lowers_the_value_by_beta() -> None:
    """`d value / d eps = -beta`, by finite differences of ascents and by differentiating the dual."""
    beta = ascended(EPS)[1]
    slope = (ascended(EPS + 0.02)[0] - ascended(EPS - 0.02)[0]) / 0.04
    assert slope == pytest.approx(-STD / np.sqrt(2 * EPS), rel=0.03)
    assert slope == pytest.approx(-beta, rel=0.05)
    by_eps = jax.grad(kl.dual, argnums=3)(jnp.float32(3.0), jnp.float32(beta), jnp.float32(2.0), EPS)
    assert float(by_eps) == pytest.approx(-beta, rel=1e-6)


def test_beyond_the_largest_exponent_the_value_is_cut_and_keeps_its_slope() -> None:
    """So eta is led back from however far: with no slope, it would be led further away."""
    beta, eta = jnp.float32(0.1), jnp.float32(5.0)  # the exponent for the value 0 is 49
    found = kl.dual(jnp.float32(0.0), beta, eta, EPS)
    assert float(found) == pytest.approx(5.0 - 0.1 * EPS - 0.1 * np.exp(10), rel=1e-5)
    by_eta, by_beta = (jax.grad(kl.dual, argnums=i)(jnp.float32(0.0), beta, eta, EPS) for i in (2, 1))
    assert float(by_eta) == pytest.approx(1 - np.exp(10), rel=1e-5)
    assert float(by_beta) == pytest.approx(-EPS + 49 * np.exp(10), rel=1e-4)


def test_what_a_critic_says_takes_the_place_of_the_next_value_also_where_the_task_ended() -> None:
    """With multipliers that are constants: one member, steps [T, N] = [2, 1] of which the second ended."""
    arm = read_arm("kl:eps=0.5:schedule=fixed")
    hyper = hyperparameters(discount=0.5, gae_lambda=0.0, regularizers=arm.leaves)
    critic = kl.start(Sizes(2, 1, False, (8,)), jax.random.key(0))
    critic = critic.replace(beta=jax.tree.map(jnp.zeros_like, critic.beta))
    critic = critic.replace(eta=jax.tree.map(jnp.zeros_like, critic.eta))
    seen = one_state(jnp.asarray([2.0, 0.0])).replace(value=jnp.asarray([1.0, 1.0]))
    seen = jax.tree.map(lambda leaf: leaf[:, None], seen)
    again = experience.revalued(seen, {"kl": critic}, hyper, arm.chosen, 0.0, {})
    beta = np.log(2) + kl.SMALLEST
    wanted = 1 + beta - 0.5 * beta - beta * np.exp((1 - np.array([2.0, 0.0])) / beta)
    np.testing.assert_allclose(again.next_value[:, 0], wanted, rtol=1e-5)
    trajectory = Trajectory(
        observation=seen.x,
        action=seen.action,
        log_prob=seen.reward,
        reward=seen.reward,
        next_observation=seen.x_next,
        terminated=jnp.asarray([[False], [True]]),
        truncated=jnp.zeros((2, 1), bool),
        failed=jnp.zeros((2, 1), bool),
        episode_return=seen.reward,
        episode_length=jnp.ones((2, 1), jnp.int32),
    )
    batch = experience.batch(again, trajectory, hyper)
    np.testing.assert_allclose(batch.value_target, 0.5 * wanted, rtol=1e-5)
    without = hyper.replace(regularizers={"kl": arm.leaves["kl"] | {"eps": 0.0}})
    kept = experience.revalued(seen, {"kl": critic}, without, arm.chosen, 0.0, {})
    np.testing.assert_array_equal(kept.next_value, seen.next_value)


def test_its_budget_is_no_radius_of_the_task() -> None:
    assert read_arm("kl", 0.075).leaves["kl"]["eps"] == 0.01


# --- a fixed policy on random tables -----------------------------------------------------------------------

STATES, ACTIONS, DISCOUNT, RADIUS, ITERATIONS = 6, 3, 0.9, 0.3, 250
MDP = tabular.random_mdp(STATES, ACTIONS)
RECIPE = Recipe(environments=32, unroll=32, epochs=4, minibatches=4, hidden=(32,), filter=False)


@jax.jit
def learned() -> Learner:
    """The values of a policy that does not move, trained in the arm as everything is trained."""
    arm = read_arm(f"kl:eps={RADIUS}:schedule=fixed")
    hyper = hyperparameters(
        discount=DISCOUNT, learning_rate=1e-9, value_rate=3e6, gae_lambda=0.5, regularizers=arm.leaves
    )
    env, recipe = make("probe/tabular"), RECIPE.replace(chosen=arm.chosen)
    first = learners.init(env, recipe, jax.random.key(0), jnp.float32(0.0), hyper)
    policy = first.agent.policy
    last = policy["layer_1"] | {"kernel": 400 * policy["layer_1"]["kernel"]}  # it begins near uniform
    first = first.replace(agent=first.agent.replace(policy=policy | {"layer_1": last}))

    def step(learner: Learner, iteration: jax.Array) -> tuple[Learner, None]:
        return learners.iterate(env, recipe, learner, iteration, ITERATIONS)[0], None

    return jax.lax.scan(step, first, jnp.arange(ITERATIONS))[0]


def test_the_next_values_learned_of_a_fixed_policy_are_the_exact_worst_ones() -> None:
    learner = learned()
    points = jnp.eye(STATES)
    policy = np.asarray(jax.nn.softmax(jax.vmap(learner.agent.output)(points)), np.float64)
    assert policy.min() < 0.1 and policy.max() > 0.6
    exact = tabular.kl_robust_values(MDP, policy, RADIUS, DISCOUNT)
    assert exact.mean() < 0.8 * tabular.policy_values(MDP, policy, DISCOUNT).mean()
    wanted = np.apply_along_axis(tabular.worst_mean, -1, MDP.transition, exact, RADIUS)

    # [state, action, next state]: what the arm puts in place of each next value, in units of the reward
    values, unit = jax.vmap(learner.agent.state_value)(points), normalizer.std(learner.returns)

    def judged(state: jax.Array, action: jax.Array, following: jax.Array) -> jax.Array:
        step = one_state(values[following][None])
        step = jax.tree.map(lambda leaf: leaf[0], step)
        step = step.replace(x=points[state], action=action, value=values[state])
        return unit * kl.next_value(learner.critics["kl"], RADIUS, step)

    by_next = jax.vmap(jax.vmap(jax.vmap(judged, (None, None, 0)), (None, 0, None)), (0, None, None))
    found = by_next(jnp.arange(STATES), jnp.arange(ACTIONS), jnp.arange(STATES))
    found = np.sum(MDP.transition * np.asarray(found, np.float64), axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=0.02)
    np.testing.assert_allclose(values * unit, exact, rtol=0.02)


@pytest.mark.parametrize(("count", "seen_in_a_pass"), [(16, 16), (20, 16), (5, 5), (1, 1)])
def test_a_critic_sees_whole_minibatches_whatever_the_number_of_transitions(
    count: int, seen_in_a_pass: int
) -> None:
    def learn(met: jax.Array, part: Transitions) -> jax.Array:
        return met + part.next_value.size

    met = state_action.taught(learn, jnp.zeros((), jnp.int32), normal(0, count), jax.random.key(0))
    assert met == state_action.PASSES * seen_in_a_pass
    total = state_action.taught(
        lambda now, part: now + part.next_value.sum(), jnp.zeros(()), normal(0, count), jax.random.key(0)
    )
    if seen_in_a_pass == count:  # each of them once in every pass
        np.testing.assert_allclose(total, state_action.PASSES * normal(0, count).next_value.sum(), rtol=1e-4)
