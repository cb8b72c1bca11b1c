"""Scores that are learned for one sparsity: the pruned policy shall do as the whole one, attacked or not.

HYDRA (Sehwag et al., NeurIPS 2020) for policies: weights stand still, and what is learned from are states.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from jaxprune.policy import Agent, Kernels, divergence, kernels, masked
from jaxprune.pruning import masks
from jaxprune.pruning.scores import FAITHFUL, ROBUST
from jaxprune.training.regularizers.ascent import ascend

STEPS, MINIBATCH, RATE = 400, 128, 0.01
"""Gradient steps, states in each, and the step size of Adam at first, which falls to 0 as a cosine. A score
can go as far as 2 in them, from a start within `sqrt(6 / inputs)`."""

CHECKS = 20
"""How often the loss of all states is taken on the way."""

KAPPA = {ROBUST: 1.0, FAITHFUL: 0.0}
"""Weight of what an attacker can change, by the evidence that is asked for."""


class Aim(NamedTuple):
    """What scores are learned for.

    sparsity, scope: of the mask. eps: l_inf radius of the ball, in normalised units. key: of minibatches and
    of where the search for the worst point begins.
    """

    sparsity: Float[Array, ""] | float
    scope: str
    eps: float
    key: PRNGKeyArray


class _Search(NamedTuple):
    """Where a search is, and the best there was so far."""

    scores: Kernels
    state: optax.OptState
    best: Kernels
    least: Float[Array, ""]


def learned(agent: Agent, x: Float[Array, "state obs"], aim: Aim, kappa: float) -> Kernels:
    """The scores S of the least `loss` on a way of `STEPS` steps; the sizes |S| rank the weights.

    x: normalised states. The way begins at `first_scores`, and the loss of all states is taken there and
    `CHECKS` times afterwards: straight-through gradients end up going to and fro between masks. Weights that
    the agent's mask removes have 0.
    """
    policy = agent.pruned()
    transform = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    row_key, ascent_key, check_key = jax.random.split(aim.key, 3)
    rows = jax.random.randint(row_key, (CHECKS, STEPS // CHECKS, MINIBATCH), 0, len(x))
    keys = jax.random.split(ascent_key, rows.shape[:2])

    def step(
        at: tuple[Kernels, optax.OptState], now: tuple[Int[Array, " row"], PRNGKeyArray]
    ) -> tuple[tuple[Kernels, optax.OptState], None]:
        (scores, state), (rows, key) = at, now
        slope = jax.grad(loss)(scores, policy, x[rows], aim._replace(key=key), kappa)
        updates, state = transform.update(slope, state)
        return (jax.tree.map(jnp.add, scores, updates), state), None

    def check(scores: Kernels) -> Float[Array, ""]:
        return loss(scores, policy, x, aim._replace(key=check_key), kappa)

    def stretch(
        search: _Search, now: tuple[Int[Array, "step row"], Key[Array, " step"]]
    ) -> tuple[_Search, None]:
        scores, state = jax.lax.scan(step, (search.scores, search.state), now)[0]
        found = check(scores)
        better = found < search.least
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), scores, search.best)
        return _Search(scores, state, best, jnp.minimum(found, search.least)), None

    first = first_scores(kernels(policy.policy))
    start = _Search(first, transform.init(first), first, check(first))
    return jax.lax.scan(stretch, start, (rows, keys))[0].best


def first_scores(weights: Kernels) -> Kernels:
    """`sqrt(6 / inputs) w / max |w|` in each layer: the order of the sizes, on the scale of fresh weights."""

    def layer(w: Float[Array, " in out"]) -> Array:
        return jnp.sqrt(6.0 / len(w)) * w / jnp.maximum(jnp.abs(w).max(), 1e-30)

    return jax.tree.map(layer, weights)


def loss(
    scores: Kernels, policy: Agent, x: Float[Array, "batch obs"], aim: Aim, kappa: float
) -> Float[Array, ""]:
    """`E KL(pi(x) || pi_M(x)) + kappa E max_s_hat KL(pi_M(x) || pi_M(s_hat))`, the maximum sought by ascent.

    M keeps the weights of the largest |S|. Its gradient is taken for that of |S|: straight through.
    """
    student = policy.replace(policy=masked(policy.policy, straight_through(scores, aim.sparsity, aim.scope)))

    def change(s: Float[Array, " obs"]) -> Float[Array, ""]:
        return divergence(policy.distribution(s), student.distribution(s))

    clean = jax.vmap(change)(x).mean()
    if kappa == 0:
        return clean

    def shift(agent: Agent, s: Float[Array, " obs"], s_hat: Float[Array, " obs"]) -> Float[Array, ""]:
        return divergence(agent.distribution(s), agent.distribution(s_hat))

    still = jax.lax.stop_gradient(student)
    worst = ascend(lambda s, s_hat: shift(still, s, s_hat), x, aim.eps, aim.key)
    return clean + kappa * jax.vmap(lambda s, s_hat: shift(student, s, s_hat))(x, worst).mean()


def straight_through(scores: Kernels, sparsity: Float[Array, ""] | float, scope: str) -> Kernels:
    """The mask of the largest |S|, whose derivative by |S| is said to be 1."""
    size = jax.tree.map(jnp.abs, scores)
    mask = masks.lowest_removed(jax.lax.stop_gradient(size), sparsity, scope)
    return jax.tree.map(lambda m, s: m + (s - jax.lax.stop_gradient(s)), mask, size)
