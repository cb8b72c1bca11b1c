"""No certificate of a table is violated by the strongest attack on the policy it is about, the sampled one.

The probes are small enough for the strongest adversary to be known: by policy iteration on the tabular task,
and on the other two because the next state does not depend on what is shown beyond the reward.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from jaxprune.bounds import at_every_state, at_one_state
from jaxprune.budget import Budget
from jaxprune.certification import certificates, certify
from jaxprune.envs import probes, tabular
from jaxprune.evaluation import Tally, Visits
from jaxprune.policy import Agent, normalizer
from jaxprune.population import Members, Population
from jaxprune.spec import SweepSpec

DISCOUNT, EPISODES = 0.9, 4000


def linear_agent(kernel, log_std=None):
    """A policy whose output is `observation @ kernel`."""
    network = {"layer_0": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(kernel.shape[1])}}
    return Agent(network, log_std, network, normalizer.init((kernel.shape[0],)))


@partial(jax.jit, static_argnames=("env", "show", "sampled"))
def play(env, agent, key, show, *, sampled=True):
    """Episodes of the agent where it sees `show(observation)`: states visited, tally, discounted returns."""

    def one(key):
        def step(carry, key):
            state, alive, weight = carry
            policy = agent.distribution(agent.normalise(show(state.observation)))
            after, transition = env.step(state, policy.sample(key) if sampled else policy.mode())
            reward = jnp.where(alive, transition.reward, 0.0)
            seen = state.observation, alive, reward, weight * reward
            return (after, alive & ~transition.terminated, weight * DISCOUNT), seen

        reset_key, key = jax.random.split(key)
        start = env.reset(reset_key), jnp.bool_(True), jnp.float32(1.0)
        return jax.lax.scan(step, start, jax.random.split(key, env.horizon))[1]

    observation, alive, reward, discounted = jax.vmap(one, out_axes=1)(jax.random.split(key, EPISODES))
    total = reward.sum(0)[None]
    none = jnp.zeros_like(total, bool)
    length = alive.sum(0)[None]
    tally = Tally(none, total, length, length < env.horizon, none, 0 * length, total, total)
    return Visits(observation, alive), tally, discounted.sum(0)


def unattacked(observation):
    return observation


def certified(env, agent, eps, visits, tally):
    """The table of one agent, certified on these episodes; it holds no violation."""
    first = jax.tree.map(lambda leaf: leaf[:, :200], visits)  # enough to see and to bound
    agents, first, tally = jax.tree.map(lambda leaf: leaf[None], (agent, first, tally))
    everyone, budget = Members(np.array([0]), np.array([0.0]), np.array(["ppo"])), Budget(eps)
    trained = SweepSpec(env=env.task, discount=DISCOUNT)
    population = Population(everyone, env, agents, np.zeros(1, bool), budget, trained)
    table = certificates(population, (budget,), (certify(population, first),), first, tally)
    seen = table.filter(pl.col("violated").is_not_null())
    assert set(seen["bound"]) == {*at_every_state(agent.activation), *at_one_state(agent.activation)}
    assert seen["violated"].sum() == 0
    assert set(table["policy"]) == {"sampled"}
    return table


def value(table, bound, quantity):
    (row,) = table.filter(pl.col("bound") == bound, pl.col("quantity") == quantity).to_dicts()
    return row


def assert_return_rows_hold(table, clean, attacked):
    """Neither value gap is below what the attack costs, in discounted and undiscounted return."""
    for bound, kind in (("value_gap", 2), ("horizon_gap", 1)):
        cost = clean[kind] - attacked[kind] if kind == 2 else clean[1].total[0] - attacked[1].total[0]
        row = value(table, bound, "return")
        assert row["kind"] == "bound" and row["confidence"] == 0.95
        # The same episodes under the same draws: the error of the difference is at most this.
        assert row["value"] >= cost.mean() - 3 * cost.std() / np.sqrt(EPISODES), bound
    limit = value(table, "tightest", "tv_limit")
    assert limit["kind"] == "bound" and limit["confidence"] == 0.95
    for row in table.filter(pl.col("quantity") == "tv").to_dicts():
        assert row["kind"] == "estimate" and row["confidence"] is None
    assert limit["value"] >= value(table, "tightest", "tv")["value"]


def fool(observation, eps):
    """The largest number down, the others up: the least probable right answer of logits in proportion."""
    return observation + eps * (1 - 2 * jax.nn.one_hot(jnp.argmax(observation), observation.size))


def swap(observation, eps):
    return observation + probes.categorical_attack(observation, eps)


@pytest.mark.parametrize(("sharpness", "eps"), [(0.02, 0.3), (1.0, 0.3), (8.0, 0.0005)])
def test_categorical_probe(sharpness, eps):
    env, agent = probes.categorical(), linear_agent(sharpness * np.eye(3))
    clean, attacked = (
        play(env, agent, jax.random.key(0), show) for show in (unattacked, partial(fool, eps=eps))
    )
    table = certified(env, agent, eps, *clean[:2])
    assert_return_rows_hold(table, clean, attacked)
    assert not value(table, "horizon_gap", "return")["vacuous"]


def test_the_comparison_catches_a_certificate_from_the_states_of_the_mode():
    """Logits of 0.02 times the numbers: drawn actions hardly change, the most likely one does."""
    env, agent, eps = probes.categorical(), linear_agent(0.02 * np.eye(3)), 0.3
    shows = unattacked, partial(swap, eps=eps)
    clean, attacked = (play(env, agent, jax.random.key(0), show, sampled=False) for show in shows)
    table = certified(env, agent, eps, *clean[:2])
    assert value(table, "horizon_gap", "return")["value"] < 7
    assert (clean[1].total - attacked[1].total).mean() > 12
    with pytest.raises(AssertionError, match="_gap"):
        assert_return_rows_hold(table, clean, attacked)


def push(observation, eps):
    return observation + probes.linear_attack(observation, eps)


@pytest.mark.parametrize(("eps", "log_std"), [(0.003, -0.5), (0.05, -2.0)])
def test_gaussian_probe(eps, log_std):
    agent = linear_agent(-probes.WEIGHTS[:, None], jnp.full(1, log_std))
    clean, attacked = (
        play(probes.linear(), agent, jax.random.key(0), show) for show in (unattacked, partial(push, eps=eps))
    )
    table = certified(probes.linear(), agent, eps, *clean[:2])
    assert_return_rows_hold(table, clean, attacked)
    assert value(table, "horizon_gap", "return")["vacuous"] == (eps == 0.05)


@pytest.mark.parametrize("sharpness", [0.01, 1.0])
def test_tabular_probe_with_the_exact_adversary(sharpness):
    """Every other state is a corner of the ball of radius 1 around a one-hot observation."""
    mdp = tabular.random_mdp()
    states, actions = mdp.reward.shape
    logits = sharpness * np.random.default_rng(0).normal(size=(states, actions))
    env, agent = tabular.environment("probe/tabular", mdp, 64), linear_agent(logits)
    clean = play(env, agent, jax.random.key(0), unattacked)
    table = certified(env, agent, 1.0, *clean[:2])

    policy = np.asarray(jax.nn.softmax(logits))
    _, worst = tabular.optimal_adversary(mdp, policy, np.ones((states, states), bool), DISCOUNT)
    values = tabular.policy_values(mdp, policy, DISCOUNT)
    row = value(table, "value_gap", "return")
    assert row["value"] >= np.mean(values - worst) > 0
    assert row["vacuous"] == (sharpness == 1.0)

    moves = np.einsum("sa,san->sn", policy, mdp.transition)
    visits = np.linalg.solve(np.eye(states) - DISCOUNT * moves.T, np.full(states, 1 - DISCOUNT) / states)
    apart = np.abs(policy[:, None] - policy[None]).sum(-1).max(1) / 2
    assert value(table, "tightest", "tv_limit")["value"] >= visits @ apart
