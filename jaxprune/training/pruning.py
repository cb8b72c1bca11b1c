"""Pruning after an iteration: what ranks the weights, which go or come, and what a lottery goes back to."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxprune.budget import UNPUBLISHED_EPS
from jaxprune.envs.api import Environment
from jaxprune.policy import Agent, Kernels, kernels
from jaxprune.pruning import masks
from jaxprune.pruning.scores import BEFORE, Evidence
from jaxprune.training import hydra, lottery, ppo
from jaxprune.training.batch import Batch
from jaxprune.training.evidence import evidence
from jaxprune.training.hydra import KAPPA, Aim
from jaxprune.training.member import (
    ACTOR,
    CRITIC,
    GROWTH_TAG,
    LEARNED_TAG,
    OF_VALUES_TAG,
    Learner,
    Recipe,
)


class Pruned(NamedTuple):
    """What pruning leaves of a learner: the fields of that name."""

    agent: Agent
    optimiser_state: optax.OptState
    ranking: Kernels
    kept: dict[str, Agent]


def pruned(
    env: Environment,
    recipe: Recipe,
    learner: Learner,
    agent: Agent,
    optimiser_state: optax.OptState,
    batch: Batch,
    progress: tuple[Float[Array, ""], Float[Array, ""]],
    key: PRNGKeyArray,
) -> Pruned:
    """An agent that has just learned from a batch, and all that goes with it, after pruning.

    progress: the shares of the training that are done before and after this iteration.
    """
    if recipe.schedule.stays:
        return Pruned(agent, optimiser_state, learner.ranking, learner.kept)
    of_weights: Evidence = evidence(recipe.ranks.evidence, agent, batch, learner.hyper)
    if recipe.score.learned:
        of_weights = {**of_weights, **_learned_when_asked(env, recipe, learner, agent, batch, progress, key)}
    if recipe.schedule.grows is None:
        ranking = rank(recipe, learner, agent, of_weights)
        agent = agent.replace(
            mask=prune(recipe, learner, ranking, progress[1]),
            value_mask=value_mask(recipe, agent, learner, progress[1]),
        )
    else:
        ranking = learner.ranking
        mask = exchange(recipe, agent, progress[1], of_weights, jax.random.fold_in(key, GROWTH_TAG))
        agent, optimiser_state = ppo.regrown(agent, optimiser_state, mask)
    kept = learner.kept
    if recipe.schedule.rewinds:
        kept = lottery.kept(kept, agent, progress)
        ticket = lottery.ticket(recipe.schedule, kept, agent, progress[1])
        begins = (ticket, ppo.still(learner.hyper, ticket), jax.tree.map(jnp.zeros_like, ranking))
        agent, optimiser_state, ranking = lottery.at_a_new_round(
            progress, begins, (agent, optimiser_state, ranking)
        )
    return Pruned(agent, optimiser_state, ranking if recipe.score.remembers else {}, kept)


def learned(
    env: Environment,
    recipe: Recipe,
    learner: Learner,
    agent: Agent,
    batch: Batch,
    progress: Float[Array, ""] | float,
    key: PRNGKeyArray,
) -> dict[str, Kernels]:
    """What the score needs to have learned from a batch, for the sparsity asked for at this point.

    Under the published budget of the task.
    """
    eps = UNPUBLISHED_EPS if env.published_eps is None else env.published_eps
    sparsity = recipe.schedule.sparsity(learner.sparsity, progress)
    aim = Aim(sparsity, recipe.scope, eps, jax.random.fold_in(key, LEARNED_TAG))
    asked = [name for name in recipe.score.evidence if name in KAPPA]
    return {name: hydra.learned(agent, batch.x, aim, KAPPA[name]) for name in asked}


def _learned_when_asked(
    env: Environment,
    recipe: Recipe,
    learner: Learner,
    agent: Agent,
    batch: Batch,
    progress: tuple[Float[Array, ""], Float[Array, ""]],
    key: PRNGKeyArray,
) -> dict[str, Kernels]:
    """The same in an iteration that removes weights; zeros in all others, whose masks stay as they are."""

    def learn() -> dict[str, Kernels]:
        return learned(env, recipe, learner, agent, batch, progress[1], key)

    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(learn))
    if not recipe.schedule.during_training:
        return nothing
    # Progress has no member axis, so that this stays a true branch in a population.
    return jax.lax.cond(recipe.schedule.asks_for_more(*progress), learn, lambda: nothing)


def rank(recipe: Recipe, learner: Learner, agent: Agent, seen: Evidence) -> Kernels:
    """The scores of the agent's weights. seen: what the score needs of the latest batch."""
    if recipe.score.remembers:
        seen = {**seen, BEFORE: learner.ranking}
    return recipe.score.of(kernels(agent.policy), learner.score_key, seen)


def prune(recipe: Recipe, learner: Learner, ranking: Kernels, progress: Float[Array, ""] | float) -> Kernels:
    """The mask of the policy that the schedule asks for once `progress` of the training is done."""
    target = 0.0 if recipe.networks == CRITIC else learner.sparsity
    return recipe.schedule.mask(masks.of(learner.agent), ranking, target, progress, recipe.scope)


def value_mask(
    recipe: Recipe, agent: Agent, learner: Learner, progress: Float[Array, ""] | float
) -> Kernels | None:
    """That of the value network, by scores of its own; None where only the policy is pruned."""
    if recipe.networks == ACTOR:
        return None
    key = jax.random.fold_in(learner.score_key, OF_VALUES_TAG)
    before = masks.dense(agent.value) if learner.agent.value_mask is None else learner.agent.value_mask
    ranking = recipe.score.of(kernels(agent.value), key)
    return recipe.schedule.mask(before, ranking, learner.sparsity, progress, recipe.scope)


def exchange(
    recipe: Recipe, agent: Agent, progress: Float[Array, ""] | float, seen: Evidence, key: PRNGKeyArray
) -> Kernels:
    """The mask after some weights have gone and as many have come, once `progress` of the training is done.

    seen: what ranks those that come, of the latest batch. key: fresh, so that those of a random order are.
    """
    weights = kernels(agent.policy)
    wanted = recipe.ranks.of(weights, key, seen)
    return recipe.schedule.exchange(masks.of(agent), weights, wanted, progress, recipe.scope)
