"""KL: next values that allow for every distribution of the next state within a KL ball around its own."""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.envs.api import Environment
from jaxprune.policy import Agent, Params
from jaxprune.training.batch import Transitions
from jaxprune.training.regularizers import randomised, state_action
from jaxprune.training.regularizers.api import Critic, Leaves, Regularizer, Sizes
from jaxprune.training.regularizers.schedule import BUDGET

EPS = 0.01
"""In nats of every step, so no radius of a task. It adds up over the 1 / (1 - discount) steps of a value."""

LARGEST = 10.0
"""Of the exponent."""

SMALLEST = 1e-3
"""Of beta, in units of the scaled return."""

_ADAM = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


class Multipliers(struct.PyTreeNode):
    """The networks of (x, a) behind beta and eta: those of the pair that led to the next state."""

    beta: Params
    eta: Params
    optimiser_state: optax.OptState


def dual(
    value: Float[Array, ""], beta: Float[Array, ""], eta: Float[Array, ""], eps: Float[Array, ""] | float
) -> Float[Array, ""]:
    """`eta - beta eps - beta exp((eta - value) / beta - 1)`, the exponent at most `LARGEST`.

    Unless an exponent is cut, its mean over values of P is no larger than the least mean over all Q with
    `KL(Q || P) <= eps` (nats), and for the best beta > 0 and eta it is that mean. For values N(m, s^2) these
    are `beta = s / sqrt(2 eps)` and `m - s sqrt(2 eps)`. It is a mean and not the logarithm of one, so one
    sample of a state is an unbiased estimate, and states need not be pooled.
    """
    exponent = (eta - value) / beta - 1.0
    ratio = jax.lax.stop_gradient(jnp.exp(jnp.minimum(exponent, LARGEST)))
    # Where it is cut it keeps its slope: with none, eta would grow for ever.
    ratio = ratio * (1.0 + exponent - jax.lax.stop_gradient(exponent))
    return eta - beta * eps - beta * ratio


def multipliers(critic: Multipliers, step: Transitions) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`beta = softplus(f(x, a))` and `eta = V(x) + beta + g(x, a)` of one transition.

    So g is what the worst mean of the next value has over V(x), less `beta eps`: small and slow, where V is
    neither.
    """
    beta = jax.nn.softplus(state_action.value(critic.beta, step.x, step.action)) + SMALLEST
    return beta, step.value + beta + state_action.value(critic.eta, step.x, step.action)


def start(sizes: Sizes, key: PRNGKeyArray) -> Multipliers:
    """Multipliers that have learned nothing."""
    beta, eta = (state_action.start(sizes, one) for one in jax.random.split(key))
    return Multipliers(beta, eta, _ADAM.init((beta, eta)))


def learn(
    critic: Multipliers,
    agent: Agent,
    seen: Transitions,
    discount: Float[Array, ""] | float,
    eps: Float[Array, ""] | float,
    key: PRNGKeyArray,
) -> Multipliers:
    """Ascend the mean of the dual over the transitions."""

    def loss(networks: tuple[Params, Params], now: Multipliers, part: Transitions) -> Float[Array, ""]:
        moved = now.replace(beta=networks[0], eta=networks[1])
        return -jax.vmap(lambda step: next_value(moved, eps, step))(part).mean()

    def step(now: Multipliers, part: Transitions) -> Multipliers:
        networks = (now.beta, now.eta)
        slope = jax.grad(loss)(networks, now, part)
        update, state = _ADAM.update(slope, now.optimiser_state)
        beta, eta = jax.tree.map(jnp.add, networks, update)
        return Multipliers(beta, eta, state)

    return state_action.taught(step, critic, seen, key)


def next_value(critic: Multipliers, eps: Float[Array, ""] | float, step: Transitions) -> Float[Array, ""]:
    """The dual of one next value, an estimate of the worst mean of all that may follow (x, a)."""
    return dual(step.next_value, *multipliers(critic, step), eps)


def world(env: Environment, leaves: Leaves) -> Environment:
    """Every episode with a body of its own; a task that has none must have chance in its own steps.

    Without either a next state has one value, and its ball is a point.
    """
    return env if env.start_shifted is None else randomised.world(env, leaves)


KL = Regularizer(
    "kl",
    "next values as the worst mean within a KL ball (eps in nats), with masses, friction, ... drawn",
    {**BUDGET, "eps": EPS, **randomised.SPREAD},
    least=randomised.LEAST,
    critic=Critic(start, learn, next_value=next_value),
    world=world,
)
"""After DR-SPCRL (arXiv 2511.05694), by the joint dual of both multipliers in place of a log-sum-exp."""
