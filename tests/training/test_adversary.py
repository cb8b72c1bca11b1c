"""Learned adversaries reach the known optimum of a probe, stay in their ball, and train side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxprune import evaluation
from jaxprune.attack_search.effort import EFFORTS
from jaxprune.attacks import ATTACKS, TRAINING, Victim, ready
from jaxprune.budget import Ball
from jaxprune.envs import make, tabular
from jaxprune.envs.probes import WEIGHTS, linear_return
from jaxprune.evaluation import Condition
from jaxprune.policy import Agent, Normalizer
from jaxprune.policy import normalizer as normalizers
from jaxprune.pruning import schedule
from jaxprune.training import learner as learners
from jaxprune.training import search
from jaxprune.training.adversary import adversary_environment
from jaxprune.training.member import Recipe
from jaxprune.training.ppo import Hyperparameters
from tests.training.populations import alone

DISCOUNT = 0.9
RECIPE = Recipe(
    environments=16,
    unroll=32,
    epochs=4,
    minibatches=4,
    hidden=(16, 16),
    filter=False,
    schedule=schedule("posthoc"),
)
TINY = RECIPE.replace(epochs=1, minibatches=1, hidden=(4,))
SETTINGS = search.grid(
    anneal=(1,), clip=(0.2,), entropy_weight=(0,), learning_rate=(1e-3, 3e-3), value_learning_rate=(3e-3,)
).replace(discount=np.full(2, DISCOUNT, np.float32))


def linear_network(kernel):
    return {"layer_0": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(kernel.shape[1])}}


def linear_agent(kernel, *, discrete, normalizer=None):
    """A policy that is one matrix [obs, act]; its value network is not used."""
    size, actions = kernel.shape
    return Agent(
        policy=linear_network(kernel),
        log_std=None if discrete else jnp.zeros(actions),
        value=linear_network(np.ones((size, 1))),
        normalizer=normalizer or normalizers.init((size,)),
    )


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def trained(env, victims, ball, name, iterations):
    adversary = ATTACKS[name].rule()
    return search.train(
        env, victims, ball, adversary, SETTINGS, RECIPE, iterations=iterations, seed=0, chunk=8
    )


def member(tree, *place):
    return jax.tree.map(lambda leaf: leaf[place], tree)


def test_what_an_adversary_reads_in_training_it_reads_when_it_attacks():
    """Of a victim whose filter does not clip, features of about 100."""
    env, rule, ball = make("probe/linear"), ATTACKS["sa-rl"].rule(), Ball(jnp.float32(0.1))
    kernel = np.ones((env.observation_size, 1), np.float32)
    far = Normalizer(
        jnp.zeros(env.observation_size), jnp.full(env.observation_size, 1e-4), jnp.ones(()), clip=np.inf
    )
    victim = Victim(linear_agent(kernel, discrete=False, normalizer=far))
    world = adversary_environment(env, victim, ball, rule)
    learner = learners.init(world, TINY, jax.random.key(1), jnp.zeros(()), Hyperparameters())
    reader = learner.agent
    x = 100 * jax.random.normal(jax.random.key(3), (env.observation_size,))
    assert np.abs(victim.normalised(x)).min() > 10
    action = reader.distribution(reader.normalise(victim.normalised(x))).mode()
    attack = rule.replace(network=reader.policy)
    shown, _ = attack.perturb(jax.random.key(0), victim, x, ball, ())
    np.testing.assert_array_equal(shown, attack.show(jax.random.key(0), victim, x, ball, action))


# --- the exact optimum of a tabular state-adversarial MDP -------------------------------------------------

STATES, ACTIONS, EPS = 6, 3, 0.2
MDP = tabular.random_mdp(STATES, ACTIONS)
TABULAR = make("probe/tabular")


def logits(seed):
    return np.random.default_rng(seed).normal(size=(STATES, ACTIONS))


def margins(kernel):
    """[state, action]: by how much a logit can lead all others somewhere in the ball of that state.

    The logits are linear in what is shown, so this is a linear program in (perturbation, lead).
    """
    found = np.empty((STATES, ACTIONS))
    for state, action in np.ndindex(STATES, ACTIONS):
        gaps = np.delete(kernel - kernel[:, [action]], action, axis=1).T  # others minus this one
        solved = linprog(
            c=[*np.zeros(STATES), -1.0],
            A_ub=np.column_stack([gaps, np.ones(ACTIONS - 1)]),
            b_ub=-gaps[:, state],
            bounds=[*[(-EPS, EPS)] * STATES, (None, None)],
        )
        found[state, action] = -solved.fun
    return found


def exact(kernel):
    """Values [state] under the best adversary in the ball, and under none.

    What the ball lets the victim be shown matters only through the action that it then takes. So showing a
    point of the ball is showing a state whose action that is, and the neighbours of a state are all states
    whose actions the ball can bring about.
    """
    own = kernel.argmax(axis=1)
    assert set(own) == set(range(ACTIONS)), "every action must be some state's"
    margin = margins(kernel)
    assert np.abs(margin).min() > 0.01, "a choice on the edge of the ball"
    policy = np.eye(ACTIONS)[own]
    _, values = tabular.optimal_adversary(MDP, policy, margin[:, own] > 0, DISCOUNT)
    return values, tabular.policy_values(MDP, policy, DISCOUNT), margin


def attacked_values(attack, victim):
    """Exact values [state] of the victim under a learned adversary."""
    keys = jax.random.split(jax.random.key(5), STATES)

    def act(key, point):
        return victim.distribution(attack.perturb(key, victim, point, Ball(EPS), ())[0]).mode()

    taken = jax.jit(jax.vmap(act))(keys, jnp.eye(STATES))
    return tabular.policy_values(MDP, np.eye(ACTIONS)[np.asarray(taken)], DISCOUNT)


@pytest.fixture(name="tables", scope="module")
def _tables():
    return [logits(seed) for seed in (14, 15)]


@pytest.mark.parametrize("name", ready(TRAINING))
def test_it_reaches_the_value_of_the_exact_optimal_adversary(name, tables):
    victims = Victim(stack(*(linear_agent(table, discrete=True) for table in tables)))
    adversaries = trained(TABULAR, victims, Ball(EPS), name, iterations=80)
    for i, table in enumerate(tables):
        best, clean, margin = exact(table)
        assert 0.3 < np.mean(margin > 0) < 1.0, "the ball must allow some actions and forbid others"
        assert best.mean() < 0.85 * clean.mean()
        found = [
            attacked_values(member(adversaries, i, setting), member(victims, i)).mean() for setting in (0, 1)
        ]
        assert best.mean() - 1e-6 <= min(found) <= 1.02 * best.mean()


# --- the line, whose optimum is a formula ---------------------------------------------------------------

LINEAR = make("probe/linear")
FILTER = Normalizer(jnp.full(4, 0.3), jnp.asarray([0.5, 1.0, 2.0, 4.0]), jnp.float32(100.0))


def best_on_the_line(space):
    """The optimal policy behind a filter, which is undone in its first layer."""
    agent = linear_agent(-WEIGHTS[:, None], discrete=False, normalizer=FILTER)
    std = np.sqrt(np.asarray(FILTER.variance))
    layer = {"kernel": jnp.asarray(-(WEIGHTS * std)[:, None]), "bias": jnp.asarray([-0.3 * WEIGHTS.sum()])}
    return Victim(agent.replace(policy={"layer_0": layer}), space)


def returns(attack, victim, ball, episodes=64):
    balls = Ball(jnp.asarray(ball.eps)[None], ball.norm)

    @jax.jit
    def play(victim, attack):
        condition = (Condition(attack, balls),)
        now = evaluation.begin(LINEAR, victim, condition, jax.random.key(7), episodes)
        return evaluation.advance(LINEAR, victim, condition, now, LINEAR.horizon, 0)[0].tally

    return play(victim, attack)


@pytest.mark.parametrize("name", ready(TRAINING))
def test_it_reaches_the_optimal_return_on_the_line(name):
    victim, ball = best_on_the_line("raw"), Ball(0.3)
    adversaries = trained(LINEAR, stack(victim), ball, name, iterations=40)
    tallies = [returns(member(adversaries, 0, setting), victim, ball) for setting in (0, 1)]
    assert min(tally.total.mean() for tally in tallies) == pytest.approx(linear_return(0.3), rel=0.02)
    assert all(tally.outside.sum() == 0 for tally in tallies)


# --- the environment ------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["normalised", "raw"])
def test_its_world_is_the_victims_episode_with_negated_rewards(space):
    victim, ball, adversary = best_on_the_line(space), Ball(0.2), ATTACKS["sa-rl"].rule()
    world = adversary_environment(LINEAR, victim, ball, adversary)
    action = jnp.asarray([0.5, -3.0, 0.0, 2.0])
    state = world.reset(jax.random.key(1))
    before = state.physics.state
    shown = victim.to_space(before.observation) + 0.2 * jnp.asarray([0.5, -1.0, 0.0, 1.0])
    wanted, played = LINEAR.step(before, victim.output(shown))
    after, transition = world.step(state, action)
    assert transition.reward == -played.reward
    for seen, true in ((state, before), (transition, wanted), (after, wanted)):
        np.testing.assert_allclose(
            seen.observation, normalizers.normalise(FILTER, true.observation), rtol=1e-5
        )
    assert world.reward_range == (-1.0, 0.0)
    assert (world.terminates, world.charge) == (LINEAR.terminates, LINEAR.charge) == (False, "clipped")


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ready(TRAINING))
@pytest.mark.parametrize("space", ["normalised", "raw"])
def test_whatever_its_action_the_point_shown_is_in_the_ball(name, norm, space):
    adversary, victim, ball = ATTACKS[name].rule(), best_on_the_line(space), Ball(0.2, norm)
    size = adversary.action_size(4, 1)

    @jax.jit
    @jax.vmap
    def inside(key):
        point_key, action_key, key = jax.random.split(key, 3)
        point = jax.random.normal(point_key, (4,))
        action = 10 * jax.random.normal(action_key, (size,))
        return ball.contains(point, adversary.show(key, victim, point, ball, action))

    assert inside(jax.random.split(jax.random.key(0), 200)).all()


# --- the population -------------------------------------------------------------------------------------


def test_a_population_trained_in_turns_is_the_same_population():
    victims = stack(best_on_the_line("normalised"), best_on_the_line("normalised"))
    victims = victims.replace(agent=victims.agent.replace(log_std=jnp.asarray([[0.0], [1.0]])))
    arguments = (LINEAR, victims, Ball(0.2), ATTACKS["sa-rl"].rule(), SETTINGS, TINY)
    heard = []
    together, in_turns = (
        search.train(
            *arguments,
            iterations=9,
            seed=3,
            chunk=n,
            heard=lambda steps, returns: heard.append((steps, returns)),
        ).network
        for n in (4, 3)
    )
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(in_turns), strict=True):
        assert one.shape[:2] == (2, 2)
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(one[0], one[1])  # a deterministic victim's spread plays no part
    assert sum(steps for steps, _ in heard) == 2 * 4 * 9 * TINY.steps
    assert all(0 < mean <= LINEAR.horizon for _, returns in heard for mean in returns)


def test_the_value_network_has_a_learning_rate_of_its_own():
    still = SETTINGS.replace(value_rate=np.zeros(2, np.float32))
    victims = stack(best_on_the_line("normalised"))  # two settings: the program of the turns above
    runs = [
        search.train(LINEAR, victims, Ball(0.2), ATTACKS["sa-rl"].rule(), s, TINY, 2, 0, 4).network
        for s in (SETTINGS, still)
    ]
    kernels = [run["layer_1"]["kernel"] for run in runs]
    assert np.any(kernels[0] != kernels[1])  # other values, other advantages


@pytest.mark.parametrize("learned", [True, False])
def test_an_observation_filter_is_learned_only_where_the_recipe_says_so(learned):
    learner, _ = alone(LINEAR, TINY.replace(filter=learned), 0, 0.0, iterations=2)
    assert learner.agent.normalizer.count == (2 * TINY.steps if learned else 0)


def test_the_published_grid_has_216_settings_with_the_learning_rates_of_the_paper():
    published = EFFORTS["published"].adversaries
    assert len({tuple(row) for row in np.stack(jax.tree.leaves(published), axis=1).tolist()}) == 216
    rates = np.unique(np.round(published.value_rate * published.learning_rate, 7))
    np.testing.assert_allclose(rates, [3e-5, 1e-4, 3e-4], rtol=1e-3)
    assert len(EFFORTS["small"].adversaries.learning_rate) == 12
