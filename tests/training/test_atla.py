"""Alternating training reaches the robust optimum of a state-adversarial MDP that is known exactly."""

from dataclasses import replace
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.envs import Environment, EnvState, Transition, tabular
from jaxprune.policy import Agent
from jaxprune.training import learner as learners
from jaxprune.training.arms import read_arm
from jaxprune.training.member import Learner, Recipe
from tests.training.populations import hyperparameters

DISCOUNT, EPS, ITERATIONS, SEEDS = 0.9, 1.5, 200, 2
PLACES = np.array([-0.25, 0.25])
"""Where the two states are shown. All of [-1.25, 1.25] may be shown for either of them."""

CONFUSED = np.ones((2, 2), bool)
SAFE = 2


def bets() -> tabular.MDP:
    """In state i action i earns 1, and the state stays with probability 0.7; the other of the two ends the
    episode. Action 2 is safe: it earns 0.7, and the state is drawn anew.
    """
    transition, reward = np.zeros((2, 3, 2)), np.zeros((2, 3))
    for state in range(2):
        transition[state, state] = 0.3 + 0.4 * np.eye(2)[state]
        transition[state, SAFE] = 0.5
        reward[state, state], reward[state, SAFE] = 1.0, 0.7
    return tabular.MDP(transition, reward)


def shown_as_numbers(env: Environment) -> Environment:
    """The environment of tables with the place of a state for its observation, one number."""

    def number(one_hot: jax.Array) -> jax.Array:
        return (one_hot @ jnp.asarray(PLACES, jnp.float32))[None]

    def reset(key: jax.Array) -> EnvState:
        state = env.reset(key)
        return state.replace(observation=number(state.observation))

    def step(state: EnvState, action: jax.Array) -> tuple[EnvState, Transition]:
        hidden = state.replace(observation=jax.nn.one_hot(state.physics.place, len(PLACES)))
        after, transition = env.step(hidden, action)
        return (
            after.replace(observation=number(after.observation)),
            transition.replace(observation=number(transition.observation)),
        )

    return replace(env, observation_size=1, reset=reset, step=step)


MDP = bets()
ENV = shown_as_numbers(tabular.environment("bets", MDP, horizon=32))
RECIPE = Recipe(environments=16, unroll=32, epochs=4, minibatches=4, hidden=(32, 32), filter=False)


@partial(jax.jit, static_argnums=0)
def trained(given: str, seeds: jax.Array) -> Agent:
    """Agents [seed] after all iterations in an arm."""
    arm = read_arm(given)
    hyper = hyperparameters(
        discount=DISCOUNT, learning_rate=3e-3, entropy_weight=0.02, regularizers=arm.leaves
    )
    recipe = RECIPE.replace(chosen=arm.chosen)

    def one(seed: jax.Array) -> Agent:
        def step(learner: Learner, iteration: jax.Array) -> tuple[Learner, None]:
            return learners.iterate(ENV, recipe, learner, iteration, ITERATIONS)[0], None

        first = learners.init(ENV, recipe, jax.random.key(seed), jnp.float32(0.0), hyper)
        return jax.lax.scan(step, first, jnp.arange(ITERATIONS))[0].agent

    return jax.vmap(one)(seeds)


def worst_value(policy: np.ndarray) -> float:
    """Mean value over the states where the adversary shows in each the worst of its points.

    policy: [state, point, action]. By value iteration on `V(s) = min_o sum_a policy(a | o) Q(s, a)`.
    """
    values = np.zeros(len(PLACES))
    for _ in range(400):
        values = np.einsum("soa,sa->so", policy, tabular.action_values(MDP, values, DISCOUNT)).min(axis=1)
    return values.mean()


def of_its_points(agent: Agent, *, mode: bool) -> np.ndarray:
    """[state, point, action]: what the agent does at 601 points of the ball of each state."""
    points = PLACES[:, None] + np.linspace(-EPS, EPS, 601)
    output = jax.vmap(jax.vmap(lambda o: agent.output(o[None])))(jnp.asarray(points, jnp.float32))
    if mode:
        return np.eye(3)[np.asarray(output).argmax(-1)]
    return np.asarray(jax.nn.softmax(output), np.float64)


def best_attacked_value() -> float:
    """Of the deterministic policies, by the exact adversary that shows either state as the other."""
    tables = [np.eye(3)[list(choice)] for choice in product(range(3), repeat=2)]
    return max(tabular.optimal_adversary(MDP, table, CONFUSED, DISCOUNT)[1].mean() for table in tables)


def test_no_policy_is_worth_more_than_the_one_that_is_always_safe() -> None:
    """The adversary may show both states as 0. Then every policy acts alike in both, and no mixture of the
    actions is worth more than 0.7 / (1 - discount) = 7.
    """
    shares = np.linspace(0.0, 1.0, 51)
    simplex = [(p, q, 1 - p - q) for p in shares for q in shares if p + q <= 1 + 1e-9]
    values = [tabular.policy_values(MDP, np.array([one, one]), DISCOUNT).mean() for one in simplex]
    assert best_attacked_value() == pytest.approx(max(values), rel=1e-9)
    assert best_attacked_value() == pytest.approx(0.7 / (1 - DISCOUNT), rel=1e-9)
    assert tabular.optimal_values(MDP, DISCOUNT).tolist() == pytest.approx([1 / (1 - DISCOUNT)] * 2)


def test_alternating_training_reaches_the_robust_optimum_and_plain_ppo_does_not() -> None:
    best, clean_best = best_attacked_value(), 1 / (1 - DISCOUNT)
    atla, ppo = (trained(given, jnp.arange(SEEDS)) for given in (f"atla:eps={EPS}:schedule=fixed", "ppo"))
    for seed in range(SEEDS):
        robust, plain = (jax.tree.map(lambda leaf, i=seed: leaf[i], agents) for agents in (atla, ppo))
        for mode in (True, False):
            assert 0.98 * best <= worst_value(of_its_points(robust, mode=mode)) <= best + 1e-6
            acts = of_its_points(plain, mode=mode)
            assert worst_value(acts[:, [300]]) >= 0.98 * clean_best  # shown the truth
            assert worst_value(acts) <= 0.1 * best
