"""Every matrix product of what acts, attacks, learns and bounds is asked for at full precision."""

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core

from jaxprune import precision
from jaxprune.attacks import Mad, Victim
from jaxprune.budget import Ball
from jaxprune.certification import visited
from jaxprune.envs import make
from jaxprune.policy import agent as agents
from jaxprune.policy import networks
from jaxprune.pruning import masks, schedule
from jaxprune.training import learner, ppo, sarsa
from tests.attacks.victims import OBS, every_attack, random_victim

KEY, BALL = jax.random.key(0), Ball(jnp.float32(0.1))
POINT = jnp.linspace(-1.0, 1.0, OBS)


def precisions(jaxpr):
    """The `precision` of every matrix product in a program, inside loops and branches too."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.append(equation.params["precision"])
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: isinstance(p, core.Jaxpr | core.ClosedJaxpr)
        ):
            if isinstance(inner, core.Jaxpr | core.ClosedJaxpr):
                found += precisions(getattr(inner, "jaxpr", inner))
    return found


def at_full_precision(function, *arguments):
    """Whether a program has matrix products, and all of them at full precision."""
    found = precisions(jax.make_jaxpr(function)(*arguments).jaxpr)
    return bool(found) and all(pair == (precision.PRECISION,) * 2 for pair in found)


def test_the_search_finds_a_product_inside_a_loop_that_is_left_at_the_default():
    def loop(product, x):
        return jax.lax.fori_loop(0, 3, lambda _, x: product(x, x), x)

    matrix = jnp.eye(2)
    assert not at_full_precision(lambda x: loop(jnp.matmul, x), matrix)
    full = lambda x: loop(lambda a, b: jnp.matmul(a, b, precision=precision.PRECISION), x)  # noqa: E731
    assert at_full_precision(full, matrix)
    assert not at_full_precision(jnp.sin, matrix)


@pytest.mark.parametrize("discrete", [False, True])
def test_a_policy_its_value_network_and_their_start(discrete):
    victim = random_victim(0, discrete=discrete)
    assert at_full_precision(victim.output, POINT)
    assert at_full_precision(victim.state_value, POINT)
    assert at_full_precision(jax.vmap(jax.grad(victim.state_value)), POINT[None])
    assert at_full_precision(lambda key: networks.init(key, OBS, (8, 3), "tanh", 1.0), KEY)


@pytest.mark.parametrize("discrete", [False, True])
def test_every_attack_that_reads_a_network_and_the_search_for_the_largest_distance(discrete):
    victim = random_victim(0, discrete=discrete)
    for attack in every_attack(1, discrete=discrete):
        memory = attack.start(KEY, POINT)
        shown = lambda point, a=attack, m=memory: a.perturb(KEY, victim, point, BALL, m)[0]  # noqa: E731
        products = precisions(jax.make_jaxpr(shown)(POINT).jaxpr)
        assert not products or at_full_precision(shown, POINT), attack.name
    found = lambda point: visited.largest_distance(victim, point, KEY, BALL, Mad(), 2)  # noqa: E731
    assert at_full_precision(found, POINT)


def test_an_update_of_ppo():
    agent = agents.init(KEY, OBS, 3, hidden=(8,))
    batch = ppo.Batch(
        x=jnp.ones((16, OBS)),
        action=jnp.ones((16, 3)),
        log_prob=jnp.ones(16),
        advantage=jnp.arange(16.0),
        value_target=jnp.ones(16),
    )
    hyper = ppo.Hyperparameters()
    state = ppo.optimiser(hyper, 0.0).init(ppo.trainable(agent))

    def update(agent):
        agent = agent.replace(mask=masks.dense(agent.policy))
        return ppo.update(agent, state, batch, hyper, jnp.float32(1e-3), KEY, epochs=1, minibatches=2)

    assert at_full_precision(update, agent)


def test_an_iteration_of_training_and_the_critic_of_robust_sarsa():
    env = make("probe/categorical")
    recipe = learner.Recipe(environments=2, unroll=4, epochs=1, minibatches=2, schedule=schedule("gradual"))

    def train(seed):
        member = learner.init(env, recipe, jax.random.key(seed), jnp.float32(0.5), ppo.Hyperparameters())
        return learner.iterate(env, recipe, member, jnp.int32(0), 2)

    assert at_full_precision(train, jnp.int32(0))
    study = sarsa.Study(environments=2, unroll=4, passes=1, minibatches=2)
    victim = Victim(agents.init(KEY, 3, 3, discrete=True))
    settings = sarsa.grid(eps=(0.1,), weight=(1.0,))

    def critic(seed):
        return sarsa.train(env, jax.tree.map(lambda leaf: leaf[None], victim), settings, study, seed)

    assert at_full_precision(critic, jnp.int32(0))


def test_the_bounds():
    agent, observation = agents.init(KEY, OBS, 3, hidden=(8,)), jnp.ones((4, 1, OBS))
    for norm in ("linf", "l2"):
        bounds = lambda seen, n=norm: visited.distances(  # noqa: E731
            agent, jnp.ones(3), seen, jnp.float32(0.1), norm=n, space="raw"
        )
        assert at_full_precision(bounds, observation)
