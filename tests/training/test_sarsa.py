"""A critic learns what the victim's actions are worth, as long as transitions stay whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprune.attacks import Sarsa, SarsaMad, Victim
from jaxprune.budget import Ball
from jaxprune.envs import ActionSpace, Environment, make, tabular
from jaxprune.envs.episode import begin, proceed
from jaxprune.envs.probes import WEIGHTS
from jaxprune.policy import Agent, normalizer
from jaxprune.training import sarsa
from jaxprune.training.sarsa import Smoothness, Study

STATES, DISCOUNT = 12, 0.98
CHAIN = tabular.environment("chain", tabular.chain(STATES), horizon=32)
STUDY = Study(
    environments=16,
    unroll=128,
    passes=60,
    minibatches=16,
    hidden=(32,),
    learning_rate=3e-3,
    discount=DISCOUNT,
)
RIGHT = 0.8
"""Probability with which the victim of the chain goes right, to where the reward is."""


def network(kernel):
    return {"layer_0": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(kernel.shape[1])}}


def agent(kernel, log_std):
    size = kernel.shape[0]
    return Agent(network(kernel), log_std, network(np.ones((size, 1))), normalizer.init((size,)))


@pytest.fixture(name="wanderer", scope="module")
def _wanderer():
    return agent(np.tile(np.log([1 - RIGHT, RIGHT]), (STATES, 1)), None)


@pytest.fixture(name="transitions", scope="module")
def _transitions(wanderer):
    return jax.jit(sarsa.collect, static_argnums=(0, 2))(CHAIN, wanderer, STUDY, jax.random.key(0))


@jax.jit
def learned(transitions):
    """Q [state, action] of the critic that studied these transitions."""
    nothing = Smoothness(jnp.float32(0.1), jnp.float32(0.0))
    critic = sarsa.learn(transitions, 2, nothing, STUDY, jax.random.key(1))
    q = lambda x: jnp.stack([sarsa.action_value(critic, x, jnp.int32(a), "tanh") for a in (0, 1)])  # noqa: E731
    return jax.vmap(q)(jnp.eye(STATES))


def correlation(q):
    mdp, policy = tabular.chain(STATES), np.tile([1 - RIGHT, RIGHT], (STATES, 1))
    true = tabular.action_values(mdp, tabular.policy_values(mdp, policy, DISCOUNT), DISCOUNT)
    return np.corrcoef(np.asarray(q).ravel(), true.ravel())[0, 1]


def shuffled(transitions):
    """What a shuffle before the pairing makes of the same experience: each step "leads" to a stranger."""
    order = jax.random.permutation(jax.random.key(2), transitions.reward.size)
    rows = jax.tree.map(lambda leaf: leaf[order] if leaf.ndim else leaf, transitions)
    return rows.replace(x_next=jnp.roll(rows.x, -1, axis=0), action_next=jnp.roll(rows.action, -1))


def test_the_critic_is_close_to_the_true_q_and_the_shuffled_one_is_not(transitions):
    assert correlation(learned(transitions)) > 0.9
    assert correlation(learned(shuffled(transitions))) < 0.5


def test_a_transition_leads_where_the_chain_leads(transitions):
    place, after = transitions.x.argmax(-1), transitions.x_next.argmax(-1)
    going = np.where(transitions.action == 1, place + 1, np.maximum(place - 1, 0))
    np.testing.assert_array_equal(after, np.minimum(going, STATES - 1))
    np.testing.assert_array_equal(transitions.terminated, going == STATES)
    assert transitions.action_next.mean() == pytest.approx(RIGHT, abs=0.05)


# --- rewards that come late -----------------------------------------------------------------------------

LATE, END = 16, 24
"""From when on a step is rewarded, and when the episode is over."""


def late():
    """Earn 1 - a^2 at each of the last steps of an episode; the time is all there is to see."""

    def reset(key):
        return begin(jnp.zeros((), jnp.int32), jnp.eye(END)[0])

    def step(state, action):
        now = state.physics
        reward = jnp.where(now >= LATE, 1.0 - jnp.clip(action[0], -1.0, 1.0) ** 2, 0.0)
        return proceed(
            state,
            now + 1,
            observation=jax.nn.one_hot(now + 1, END),
            reward=reward,
            terminated=now + 1 >= END,
            horizon=END,
            watched=action[0],
        )

    return Environment("late", "none", END, ActionSpace(1), END, reset, step, (0.0, 1.0), True)


def test_whole_episodes_are_seen_where_the_reward_comes_late():
    """An unroll is a third of an episode: without going on, no reward would ever be seen."""
    env, still = late(), agent(np.zeros((END, 1)), jnp.full(1, -0.5))
    study = Study(
        environments=48,
        unroll=8,
        passes=60,
        minibatches=8,
        hidden=(32,),
        learning_rate=1e-2,
        discount=0.9,
    )
    seen = jax.jit(sarsa.collect, static_argnums=(0, 2))(env, still, study, jax.random.key(0))
    times = np.asarray(seen.x.argmax(-1))
    assert np.bincount(times).tolist() == [16] * END  # every step equally often, 48 x 8 of them
    assert np.all(seen.reward[times < LATE] == 0) and np.any(seen.reward[times >= LATE] > 0)

    @jax.jit
    def values(transitions):
        critic = sarsa.learn(transitions, 1, Smoothness(0.1, 0.0), study, jax.random.key(1))
        q = lambda time, action: sarsa.action_value(critic, time, action[None], "tanh")  # noqa: E731
        return jax.vmap(q)(jnp.repeat(jnp.eye(END), 2, axis=0), jnp.tile(jnp.asarray([0.0, 0.9]), END))

    # of the action a at time t: 1 - a^2 if it is late, and (1 - E a^2) for every late step after it
    later = 1 - np.mean(np.clip(np.exp(-0.5) * np.random.default_rng(0).normal(size=10_000), -1, 1) ** 2)
    exact = [
        (1 - action**2) * (time >= LATE)
        + sum(later * 0.9 ** (t - time) for t in range(max(LATE, time + 1), END))
        for time in range(END)
        for action in (0.0, 0.9)
    ]
    assert np.corrcoef(values(seen), exact)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("environments", "unroll", "horizon", "wanted"),
    [(32, 512, 1000, (16, 1024)), (4, 32, 32, (4, 32)), (5, 8, 24, (1, 24)), (2, 8, 40, (1, 40))],
)
def test_as_many_transitions_as_before_in_whole_episodes(environments, unroll, horizon, wanted):
    assert Study(environments=environments, unroll=unroll).whole_episodes(horizon) == wanted


# --- continuous actions ---------------------------------------------------------------------------------

LINEAR = make("probe/linear", horizon=8)
SHORT = Study(environments=16, unroll=64, passes=40, minibatches=8, hidden=(32,), discount=DISCOUNT)


@pytest.fixture(name="critics", scope="module")
def _critics():
    """(victims [2], critics [victim, setting]); the settings are two weights of the smoothness."""
    best, lazy = (Victim(agent(-share * WEIGHTS[:, None], jnp.full(1, -0.7))) for share in (1.0, 0.5))
    victims = jax.tree.map(lambda *leaves: jnp.stack(leaves), best, lazy)
    settings = sarsa.grid(eps=(0.3,), weight=(0.0, 100.0))
    return victims, sarsa.train(LINEAR, victims, settings, SHORT, 0)


def member(tree, *place):
    return jax.tree.map(lambda leaf: leaf[place], tree)


def at_zero(critic, action):
    """Q of an action where the point is at 0 and the nuisance is 0."""
    return sarsa.action_value(critic, jnp.zeros(4), jnp.asarray([action]), "tanh")


def test_an_agent_without_spread_is_explored_all_the_same():
    still = agent(-WEIGHTS[:, None], jnp.full(1, -100.0))
    seen = jax.jit(sarsa.collect, static_argnums=(0, 2))(LINEAR, still, SHORT, jax.random.key(0))
    explored = seen.action[:, 0] + seen.x @ WEIGHTS
    assert np.std(explored) == pytest.approx(sarsa.LEAST_SPREAD, rel=0.1)


def slope(critic):
    """Largest change of Q between the action 0 and those at the edge of the smoothness's ball."""
    return max(abs(at_zero(critic, a) - at_zero(critic, 0.0)) for a in (-0.3, 0.3))


def test_smoothness_flattens_q_in_the_action(critics):
    _, critics = critics
    for victim in (0, 1):
        assert slope(member(critics, victim, 1)) < 0.3 * slope(member(critics, victim, 0))


def test_an_action_that_leaves_the_goal_is_worth_less(critics):
    _, critics = critics
    critic = member(critics, 0, 0)
    assert at_zero(critic, 0.0) > max(at_zero(critic, -0.5), at_zero(critic, 0.5))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_learned_attacks_stay_in_their_ball(critics, norm):
    victims, critics = critics
    victim, ball = member(victims, 1), Ball(0.2, norm)
    points = jax.random.normal(jax.random.key(4), (100, 4))
    for attack in (Sarsa(member(critics, 1, 0)), SarsaMad(member(critics, 1, 0))):
        shown = jax.jit(jax.vmap(lambda key, p, a=attack: a.perturb(key, victim, p, ball, ())[0]))(
            jax.random.split(jax.random.key(5), 100), points
        )
        assert jax.vmap(ball.contains)(points, shown).all()
        assert np.abs(shown - points).max() > 0.1
