"""Returns under attack: the accounting is that of a plain loop, and conditions do not touch each other."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxprune import attacks, evaluation
from jaxprune.attacks import Victim
from jaxprune.attacks.api import Memoryless
from jaxprune.budget import Ball
from jaxprune.envs import make
from jaxprune.envs.probes import HORIZON, WEIGHTS, linear_return
from jaxprune.evaluation import Condition
from jaxprune.policy import Agent
from jaxprune.policy import agent as agents
from jaxprune.policy import normalizer as normalizers

EPISODES, RECORD, STEPS = 6, 2, HORIZON + 3
LINEAR, CATEGORICAL = make("probe/linear"), make("probe/categorical")
KEY = jax.random.key(3)
CLEAN = Condition(attacks.make("none"), Ball(jnp.zeros(1)))


def attacked(name, *eps):
    return Condition(attacks.make(name), Ball(jnp.asarray(eps)))


@partial(jax.jit, static_argnames=("env", "conditions", "steps"))
def _played(env, agent, balls, conditions, steps):
    victim = Victim(agent)
    pairs = tuple(Condition(attack, ball) for attack, ball in zip(conditions, balls, strict=True))
    first = evaluation.begin(env, victim, pairs, KEY, EPISODES)
    return first.state, evaluation.advance(env, victim, pairs, first, steps, RECORD)


def played(env, agent, *conditions, steps=STEPS):
    """(start states of the first condition, (evaluation, visits)) after `steps` steps."""
    balls = tuple(condition.balls for condition in conditions)
    return _played(env, agent, balls, tuple(condition.attack for condition in conditions), steps)


def tally(env, agent, *conditions, steps=STEPS):
    return played(env, agent, *conditions, steps=steps)[1][0].tally


def assert_same(one, other, rows=slice(None), **tolerance):
    """`one` is what `other` holds in those rows (budgets)."""
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, np.asarray(right)[rows], **tolerance)


@pytest.fixture(name="clumsy", scope="module")
def _clumsy():
    """A policy of `probe/categorical` that is wrong now and then: a blurred view of the numbers."""
    kernel = jnp.eye(3) + 0.3 * jnp.asarray(np.random.default_rng(2).normal(size=(3, 3)), jnp.float32)
    network = {"layer_0": {"kernel": kernel, "bias": jnp.zeros(3)}}
    value = {"layer_0": {"kernel": jnp.ones((3, 1)), "bias": jnp.zeros(1)}}
    return Agent(network, None, value, normalizers.init((3,)))


@pytest.fixture(name="wild", scope="module")
def _wild():
    """A random policy of `probe/linear` with a real observation filter."""
    agent = jax.jit(lambda key: agents.init(key, 4, 1, hidden=(6,)))(jax.random.key(1))
    layer = agent.policy["layer_1"]
    policy = agent.policy | {"layer_1": layer | {"kernel": 100.0 * layer["kernel"]}}
    seen = agent.normalizer.replace(mean=jnp.full(4, 0.3), variance=jnp.full(4, 2.0))
    return agent.replace(policy=policy, normalizer=seen)


@pytest.fixture(name="best", scope="module")
def _best():
    """The optimal policy of `probe/linear`."""
    network = {"layer_0": {"kernel": -jnp.asarray(WEIGHTS)[:, None], "bias": jnp.zeros(1)}}
    return Agent(network, jnp.zeros(1), network, normalizers.init((4,)))


def plain_loop(env, agent, state):
    """One episode in plain Python: (return, length, terminated, rewards, observations)."""
    step = jax.jit(env.step)
    act = jax.jit(lambda s: agent.distribution(agent.normalise(s)).mode())
    rewards, observations = [], []
    while True:
        observations.append(np.asarray(state.observation))
        state, transition = step(state, act(state.observation))
        rewards.append(float(transition.reward))
        if transition.terminated or transition.truncated:
            return sum(rewards), len(rewards), bool(transition.terminated), rewards, observations


def plain_episodes(env, agent, start):
    of_clean = [jax.tree.map(lambda leaf, i=i: leaf[0, i], start) for i in range(EPISODES)]
    return [plain_loop(env, agent, state) for state in of_clean]


@pytest.fixture(name="clumsy_run", scope="module")
def _clumsy_run(clumsy):
    start, (now, visits) = played(CATEGORICAL, clumsy, CLEAN)
    return plain_episodes(CATEGORICAL, clumsy, start), now.tally, visits


@pytest.fixture(name="wild_run", scope="module")
def _wild_run(wild):
    start, (now, visits) = played(LINEAR, wild, CLEAN)
    return plain_episodes(LINEAR, wild, start), now.tally, visits


# --- the accounting -------------------------------------------------------------------------------------


def test_clean_returns_are_those_of_a_plain_loop(wild_run):
    episodes, found, _ = wild_run
    assert np.ptp([total for total, *_ in episodes]) > 1, "all episodes are alike"
    np.testing.assert_allclose(found.total[0], [total for total, *_ in episodes], rtol=1e-4)


def test_clean_returns_of_episodes_that_terminate_are_those_of_a_plain_loop(clumsy_run):
    episodes, found, _ = clumsy_run
    np.testing.assert_allclose(found.total[0], [total for total, *_ in episodes])


def test_lengths_are_the_steps_up_to_the_end(clumsy_run):
    episodes, found, _ = clumsy_run
    lengths = [length for _, length, *_ in episodes]
    assert min(lengths) < max(lengths), "all episodes are alike"
    np.testing.assert_array_equal(found.length[0], lengths)


def test_terminated_tells_falls_from_the_horizon(clumsy_run):
    episodes, found, _ = clumsy_run
    wanted = [terminated for _, _, terminated, *_ in episodes]
    assert 0 < sum(wanted) < EPISODES, "all episodes are alike"
    np.testing.assert_array_equal(found.terminated[0], wanted)
    assert not found.failed.any()


def test_the_extremes_are_the_lowest_and_highest_reward_of_a_step(wild_run):
    episodes, found, _ = wild_run
    np.testing.assert_allclose(found.reward_low[0], [min(e[3]) for e in episodes], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.reward_high[0], [max(e[3]) for e in episodes], rtol=1e-4)


def test_an_episode_is_alive_until_it_ends(clumsy, clumsy_run):
    episodes, _, _ = clumsy_run
    for steps in (1, HORIZON - 1, HORIZON):
        found = tally(CATEGORICAL, clumsy, CLEAN, steps=steps)
        np.testing.assert_array_equal(found.alive[0], [length > steps for _, length, *_ in episodes])


def test_nothing_is_counted_after_the_end(clumsy, clumsy_run):
    # STEPS is beyond the horizon; by then every episode is over
    later = tally(CATEGORICAL, clumsy, CLEAN, steps=HORIZON)
    assert_same(later, clumsy_run[1])


def test_the_recorded_visits_are_the_observations_of_the_plain_loop(wild_run):
    episodes, _, visits = wild_run
    assert visits.observation.shape == (STEPS, RECORD, 4)
    for i in range(RECORD):
        np.testing.assert_allclose(visits.observation[:HORIZON, i], episodes[i][4], rtol=1e-4, atol=1e-5)


def test_visits_are_alive_up_to_the_end_of_their_episode(clumsy_run):
    episodes, _, visits = clumsy_run
    for i in range(RECORD):
        np.testing.assert_array_equal(visits.alive[:, i], np.arange(STEPS) < episodes[i][1])


def test_an_evaluation_in_two_parts_is_one_evaluation(clumsy, clumsy_run):
    victim = Victim(clumsy)

    @jax.jit
    def in_parts():
        now = evaluation.begin(CATEGORICAL, victim, (CLEAN,), KEY, EPISODES)
        now, before = evaluation.advance(CATEGORICAL, victim, (CLEAN,), now, 5, RECORD)
        now, after = evaluation.advance(CATEGORICAL, victim, (CLEAN,), now, STEPS - 5, RECORD)
        return now.tally, jax.tree.map(lambda *parts: jnp.concatenate(parts), before, after)

    found, visits = in_parts()
    assert_same(found, clumsy_run[1])
    assert_same(visits, clumsy_run[2])


# --- under attack ---------------------------------------------------------------------------------------

NAMES, BUDGETS = ("random", "fgsm"), (0.0, 0.1, 0.4)


@pytest.fixture(name="under_attack", scope="module")
def _under_attack(wild):
    """Rows: clean, random at every budget, fgsm at every budget."""
    return tally(LINEAR, wild, CLEAN, *(attacked(name, *BUDGETS) for name in NAMES))


@pytest.mark.parametrize("row", [1, 1 + len(BUDGETS)], ids=NAMES)
def test_an_attack_without_a_budget_is_no_attack(under_attack, wild_run, row):
    assert_same(wild_run[1], under_attack, rows=slice(row, row + 1), rtol=1e-5)


def test_attacks_with_a_budget_change_the_return(under_attack):
    changed = np.abs(under_attack.total - under_attack.total[0]).max(1) > 1e-3
    np.testing.assert_array_equal(changed, [False, False, True, True, False, True, True])


@pytest.mark.parametrize("place", range(len(BUDGETS)))
@pytest.mark.parametrize("attack", range(len(NAMES)), ids=NAMES)
def test_budgets_and_attacks_side_by_side_are_separate_evaluations(wild, under_attack, attack, place):
    separate = tally(LINEAR, wild, attacked(NAMES[attack], BUDGETS[place]))
    row = 1 + attack * len(BUDGETS) + place
    assert_same(separate, under_attack, rows=slice(row, row + 1), rtol=1e-4, atol=1e-4)


def test_the_library_attacks_stay_in_their_balls(under_attack):
    assert not under_attack.outside.any()


@struct.dataclass
class Strongest(Memoryless):
    """The strongest attack on the optimal policy of `probe/linear`."""

    def perturb(self, key, victim, point, ball, memory):
        side = jnp.where(jnp.asarray(WEIGHTS) @ point < 0, -1.0, 1.0)
        return point - ball.eps * side * jnp.sign(jnp.asarray(WEIGHTS)), memory


def test_the_optimal_policy_loses_what_theory_says(best):
    budgets = (0.0, 0.1, 0.3)
    found = tally(LINEAR, best, Condition(Strongest(), Ball(jnp.asarray(budgets))))
    wanted = [[linear_return(eps)] * EPISODES for eps in budgets]
    np.testing.assert_allclose(found.total, wanted, rtol=1e-4)


@struct.dataclass
class Cheat:
    """Leaves the ball at every third step, the first included."""

    offset: Any = struct.field(pytree_node=False, default=2.0)

    def start(self, key, point):
        return jnp.int32(0)

    def perturb(self, key, victim, point, ball, memory):
        offset = jnp.where(memory % 3 == 0, self.offset, 1.0) * ball.eps
        return point.at[0].add(offset), memory + 1


@pytest.mark.parametrize("offset", [2.0, 1.01])
def test_every_step_outside_the_ball_is_counted_and_no_other(best, offset):
    found = tally(LINEAR, best, Condition(Cheat(offset), Ball(jnp.asarray([0.1]))), steps=HORIZON)
    np.testing.assert_array_equal(found.outside, -(-HORIZON // 3))


def test_steps_outside_the_ball_count_only_while_the_episode_is_alive(clumsy):
    found = tally(CATEGORICAL, clumsy, Condition(Cheat(), Ball(jnp.asarray([0.3]))))
    assert np.ptp(found.length) > 0, "all episodes are alike"
    np.testing.assert_array_equal(found.outside, -(-np.asarray(found.length) // 3))


def test_showing_nan_is_outside_the_ball_and_fails_the_episode_at_once(best):
    found = tally(LINEAR, best, Condition(Cheat(float("nan")), Ball(jnp.asarray([0.1]))), steps=HORIZON)
    assert found.failed.all()
    np.testing.assert_array_equal(found.outside, 1)
    np.testing.assert_array_equal(found.length, 1)
    np.testing.assert_array_equal(found.total, 0.0)


def first_actions(agent, policy, episodes):
    """Episodes of `probe/categorical` under one policy of an agent: the lengths."""
    condition = (CLEAN.replace(policy=policy),)
    victim = Victim(agent)
    now = evaluation.begin(CATEGORICAL, victim, condition, KEY, episodes)
    now, _ = jax.jit(lambda now: evaluation.advance(CATEGORICAL, victim, condition, now, STEPS, 0))(now)
    return np.asarray(now.tally.length[0])


def test_sampled_actions_are_draws_and_modes_are_not(clumsy):
    blind = clumsy.replace(policy=jax.tree.map(jnp.zeros_like, clumsy.policy))
    # One in three random actions is right: P(length > n) = 3^-n up to the horizon.
    lengths = first_actions(blind, "sampled", 4000)
    np.testing.assert_allclose((lengths > 1).mean(), 1 / 3, atol=0.03)
    np.testing.assert_allclose((lengths > 2).mean(), 1 / 9, atol=0.02)
    # The mode is always the first action, which is right again after the numbers have come round once.
    assert set(first_actions(blind, "mode", 200)) <= {1, 2}


def test_without_a_spread_the_sampled_actions_are_the_modes(best):
    still = best.replace(log_std=jnp.full(1, -200.0))
    victim = Victim(still)
    both = (CLEAN, CLEAN.replace(policy="sampled"))

    def run():
        now = evaluation.begin(LINEAR, victim, both, KEY, EPISODES)
        return evaluation.advance(LINEAR, victim, both, now, STEPS, 0)[0].tally.total

    mode, sampled = jax.jit(run)()
    np.testing.assert_array_equal(mode, sampled)
    loud = Victim(best.replace(log_std=jnp.zeros(1)))
    now = evaluation.begin(LINEAR, loud, both, KEY, EPISODES)
    total = evaluation.advance(LINEAR, loud, both, now, STEPS, 0)[0].tally.total
    np.testing.assert_array_equal(total[0], mode)
    assert np.all(total[1] < mode)
