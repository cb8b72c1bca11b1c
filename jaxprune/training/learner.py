"""One member in training: its beginning, and one iteration of act, learn, prune."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxprune.envs.api import Environment
from jaxprune.policy import Agent, Normalizer, kernels, normalizer
from jaxprune.policy import agent as agents
from jaxprune.pruning import masks
from jaxprune.pruning.scores import Evidence
from jaxprune.training import experience, lottery, ppo, pruning
from jaxprune.training.batch import Batch, Transitions
from jaxprune.training.evidence import evidence
from jaxprune.training.member import (
    CRITIC_TAG,
    FRESH_TAG,
    OPPONENT_TAG,
    PACE_TAG,
    UNTRAINED_TAG,
    VALUE_TAG,
    Learner,
    Progress,
    Recipe,
)
from jaxprune.training.ppo import Diagnostics, Hyperparameters
from jaxprune.training.regularizers import Moment, Sizes
from jaxprune.training.regularizers.schedule import SELF_PACED, paced
from jaxprune.training.rollout import Trajectory, rollout, start

REWARD_CLIP = 10.0


def init(
    env: Environment,
    recipe: Recipe,
    key: PRNGKeyArray,
    sparsity: Float[Array, ""],
    hyper: Hyperparameters,
) -> Learner:
    """A member before its first step. Every random stream comes from `key`, none from its place."""
    world = experience.world(env, recipe.chosen, hyper)
    agent_key, workers_key, score_key, key = jax.random.split(key, 4)
    agent = _drawn(env, recipe, agent_key)
    learner = Learner(
        agent=agent,
        sparsity=sparsity,
        hyper=hyper,
        optimiser_state=ppo.still(hyper, agent),
        returns=normalizer.init(()),
        discounted=jnp.zeros(recipe.environments),
        workers=start(world, workers_key, recipe.environments),
        key=key,
        score_key=score_key,
        diverged=jnp.zeros((), bool),
        budgets={c.name: jnp.zeros(()) for c in recipe.chosen if c.schedule == SELF_PACED},
        critics=_critics(env, recipe, jax.random.fold_in(agent_key, CRITIC_TAG)),
        ranking=jax.tree.map(jnp.zeros_like, kernels(agent.policy)) if recipe.score.remembers else {},
        kept=_kept(env, recipe, agent, agent_key),
        adversary=_opponent(world, recipe, agent, jax.random.fold_in(agent_key, OPPONENT_TAG), hyper),
    )
    untrained = jax.random.fold_in(key, UNTRAINED_TAG)
    seen = evidence_of_a_batch(env, recipe, learner, untrained) if recipe.schedule.from_the_start else None
    ranking = recipe.score.of(kernels(agent.policy), score_key, seen)
    mask = pruning.prune(recipe, learner, ranking, 0.0)
    of_values = pruning.value_mask(recipe, agent, learner, 0.0)
    return learner.replace(agent=agent.replace(mask=mask, value_mask=of_values))


def _drawn(env: Environment, recipe: Recipe, key: PRNGKeyArray) -> Agent:
    """A fresh agent without a mask."""
    agent = agents.init(
        key,
        env.observation_size,
        env.action_space.size,
        discrete=env.action_space.discrete,
        hidden=recipe.hidden,
        activation=recipe.activation,
    )
    # What another filter has made is read as it is: neither centred, nor scaled, nor clipped.
    return agent if recipe.filter else agent.replace(normalizer=agent.normalizer.replace(clip=math.inf))


def _kept(env: Environment, recipe: Recipe, agent: Agent, key: PRNGKeyArray) -> dict[str, Agent]:
    """What a lottery goes back to, before its first step."""
    if not recipe.schedule.rewinds:
        return {}
    if not recipe.schedule.fresh:
        return {lottery.EARLY: agent}
    return {lottery.EARLY: agent, lottery.FRESH: _drawn(env, recipe, jax.random.fold_in(key, FRESH_TAG))}


def _critics(env: Environment, recipe: Recipe, key: PRNGKeyArray) -> dict[str, Any]:
    """The critics of the regularisers, which have learned nothing yet."""
    space = env.action_space
    sizes = Sizes(env.observation_size, space.size, space.discrete, recipe.hidden)
    return {c.name: c.regularizer.critic.start(sizes, key) for c in recipe.chosen if c.regularizer.critic}


def _opponent(
    env: Environment, recipe: Recipe, agent: Agent, key: PRNGKeyArray, hyper: Hyperparameters
) -> Learner | None:
    """The learner that is trained against the agent, if a regulariser asks for one."""
    asked = experience.with_adversary(recipe.chosen)
    if asked is None:
        return None
    chosen, adversary = asked
    world = experience.against(env, agent, adversary, 0.0)
    own = experience.opponent_settings(chosen, hyper)
    return init(world, opponent_recipe(recipe), key, jnp.zeros(()), own)


def opponent_recipe(recipe: Recipe) -> Recipe:
    """How an adversary is trained in turns with an agent: as the agent, but neither pruned nor filtered."""
    return Recipe(
        environments=recipe.environments,
        unroll=recipe.unroll,
        epochs=recipe.epochs,
        minibatches=recipe.minibatches,
        hidden=recipe.hidden,
        activation=recipe.activation,
        filter=False,
    )


def iterate(
    env: Environment, recipe: Recipe, learner: Learner, iteration: Int[Array, ""], iterations: int
) -> tuple[Learner, Progress]:
    """Iteration number `iteration` of `iterations`: act, learn, prune.

    A member whose parameters, losses or statistics are no longer finite afterwards goes back to where it was
    and stays there, marked `diverged`.
    """
    after, progress = _iterate(env, recipe, learner, iteration, iterations)
    losses = (progress.update.policy_loss, progress.update.value_loss, progress.update.entropy)
    opponent = None if after.adversary is None else after.adversary.agent
    sound = ~learner.diverged & all_finite(
        (
            after.agent,
            after.optimiser_state,
            after.returns,
            after.discounted,
            after.budgets,
            after.critics,
            after.ranking,
            opponent,
            losses,
        )
    )
    frozen = learner.replace(diverged=jnp.ones((), bool))
    after = jax.tree.map(lambda new, old: jnp.where(sound, new, old), after, frozen)
    return after, _counted(progress, sound, frozen.agent)


def all_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    """Whether no number in the tree is NaN or infinite. Whole numbers always are."""
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()


def _counted(progress: Progress, sound: Bool[Array, ""], frozen: Agent) -> Progress:
    """The progress of an iteration that counts, or that of a frozen member."""
    nothing = jax.tree.map(jnp.zeros_like, progress).replace(
        sparsity=masks.masked_out(frozen),
        diverged=jnp.ones((), bool),
        update=jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), progress.update),
    )
    return jax.tree.map(lambda some, none: jnp.where(sound, some, none), progress, nothing)


def _iterate(
    env: Environment, recipe: Recipe, learner: Learner, iteration: Int[Array, ""], iterations: int
) -> tuple[Learner, Progress]:
    """One iteration, whatever comes of it.

    The observation filter is frozen while acting and learning, and updated afterwards.
    """
    world = experience.world(env, recipe.chosen, learner.hyper)
    key, rollout_key, update_key = jax.random.split(learner.key, 3)
    policy, progress = learner.agent.pruned(), (iteration / iterations, (iteration + 1) / iterations)
    show = experience.shown(
        recipe.chosen,
        policy,
        learner.hyper,
        progress[0],
        learner.budgets,
        None if learner.adversary is None else learner.adversary.agent,
    )
    workers, trajectory = rollout(world, policy, learner.workers, rollout_key, recipe.unroll, show)
    returns, discounted, reward = scale_reward(learner, trajectory)
    value_key = jax.random.fold_in(update_key, VALUE_TAG)
    seen = experience.transitions(policy, trajectory, reward, learner.hyper, recipe.chosen, value_key)
    critics = _taught(recipe, learner, policy, seen, progress[0], jax.random.fold_in(update_key, CRITIC_TAG))
    seen = experience.revalued(seen, critics, learner.hyper, recipe.chosen, progress[0], learner.budgets)
    batch = experience.batch(seen, trajectory, learner.hyper)
    for chosen in recipe.chosen:
        hook = chosen.regularizer.critic
        if hook is not None and hook.gain is not None:
            numbers = learner.hyper.regularizers[chosen.name]
            batch = hook.gain(critics[chosen.name], batch, numbers, progress[0])
    agent, optimiser_state, diagnostics = ppo.update(
        learner.agent,
        learner.optimiser_state,
        batch,
        learner.hyper,
        _step_size(recipe, learner.hyper, iteration, iterations),
        update_key,
        epochs=recipe.epochs,
        minibatches=recipe.minibatches,
        progress=progress,
        chosen=recipe.chosen,
        budgets=learner.budgets,
    )
    if recipe.filter:
        observed = trajectory.observation.reshape(recipe.steps, -1)
        agent = agent.replace(normalizer=normalizer.update(agent.normalizer, observed))
    pruned = pruning.pruned(env, recipe, learner, agent, optimiser_state, batch, progress, update_key)
    after = learner.replace(
        **pruned._asdict(),
        returns=returns,
        discounted=discounted,
        workers=workers,
        key=key,
        critics=critics,
        budgets=_paced(recipe, learner, pruned.agent, batch, update_key),
        adversary=_opponents_turn(world, recipe, learner, pruned.agent, iteration, iterations),
    )
    return after, _progress(trajectory, pruned.agent, diagnostics)


def _step_size(
    recipe: Recipe, hyper: Hyperparameters, iteration: Int[Array, ""], iterations: int
) -> Float[Array, ""]:
    """Of Adam in this iteration."""
    if recipe.schedule.rewinds:
        return hyper.learning_rate * (1.0 - hyper.anneal * lottery.pace(iteration / iterations))
    return hyper.learning_rate * (1.0 - hyper.anneal * iteration / iterations)


def _taught(
    recipe: Recipe,
    learner: Learner,
    agent: Agent,
    seen: Transitions,
    progress: Float[Array, ""],
    key: PRNGKeyArray,
) -> dict[str, Any]:
    """The regularisers' critics after they have learned from the transitions of this iteration."""
    critics = {}
    for chosen in recipe.chosen:
        if (hook := chosen.regularizer.critic) is not None:
            eps = ppo.budget(chosen, learner.hyper, progress, learner.budgets)
            before, discount = learner.critics[chosen.name], learner.hyper.discount
            critics[chosen.name] = hook.learn(before, agent, experience.flat(seen), discount, eps, key)
    return critics


def _paced(
    recipe: Recipe, learner: Learner, agent: Agent, batch: Batch, key: PRNGKeyArray
) -> dict[str, Float[Array, ""]]:
    """The budgets of the next iteration of those regularisers that pace themselves."""
    budgets = {}
    for chosen in recipe.chosen:
        if chosen.schedule == SELF_PACED and chosen.regularizer.growth is not None:
            numbers, eps = learner.hyper.regularizers[chosen.name], learner.budgets[chosen.name]
            moment = Moment(eps, learner.hyper.clip, jax.random.fold_in(key, PACE_TAG))
            growth = chosen.regularizer.growth(agent.pruned(), batch, numbers, moment)
            budgets[chosen.name] = paced(eps, growth, numbers["eps"], numbers["pace"], numbers["pull"])
    return budgets


def _opponents_turn(
    env: Environment,
    recipe: Recipe,
    learner: Learner,
    agent: Agent,
    iteration: Int[Array, ""],
    iterations: int,
) -> Learner | None:
    """One iteration of the adversary against the agent as it is now."""
    asked = experience.with_adversary(recipe.chosen)
    if asked is None or learner.adversary is None:
        return None
    chosen, adversary = asked
    eps = ppo.budget(chosen, learner.hyper, (iteration + 1) / iterations, learner.budgets)
    world = experience.against(env, agent.pruned(), adversary, eps)
    opponent = learner.adversary.replace(workers=experience.refreshed(learner.adversary.workers, agent))
    return _iterate(world, opponent_recipe(recipe), opponent, iteration, iterations)[0]


def last_evidence(env: Environment, recipe: Recipe, learner: Learner) -> Evidence:
    """What the score needs once the training is done, as `prune` takes it then."""
    return evidence_of_a_batch(env, recipe, learner, learner.key)


def evidence_of_a_batch(env: Environment, recipe: Recipe, learner: Learner, key: PRNGKeyArray) -> Evidence:
    """What the score needs of one batch more, from which the learner learns nothing.

    Its environments go on from where they are, and none of them notices.
    """
    if not recipe.score.evidence:
        return {}
    policy, world = learner.agent.pruned(), experience.world(env, recipe.chosen, learner.hyper)
    _, trajectory = rollout(world, policy, learner.workers, key, recipe.unroll)
    _, _, reward = scale_reward(learner, trajectory)
    seen = experience.transitions(policy, trajectory, reward, learner.hyper, (), key)
    batch = experience.batch(seen, trajectory, learner.hyper)
    of_weights = evidence(recipe.score.evidence, learner.agent, batch, learner.hyper)
    if recipe.score.learned:
        return of_weights | pruning.learned(env, recipe, learner, learner.agent, batch, 1.0, key)
    return of_weights


def scale_reward(
    learner: Learner, trajectory: Trajectory
) -> tuple[Normalizer, Float[Array, " env"], Float[Array, "time env"]]:
    """Rewards over the running standard deviation of the discounted return, clipped to ±REWARD_CLIP.

    The discounted return R_t = discount R_{t-1} + r_t starts anew with every episode.
    """

    def accumulate(before: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, finished = step
        now = learner.hyper.discount * before + reward
        return jnp.where(finished, 0.0, now), now

    discounted, seen = jax.lax.scan(accumulate, learner.discounted, (trajectory.reward, trajectory.finished))
    returns = normalizer.update(learner.returns, seen.ravel())
    scaled = jnp.clip(trajectory.reward / normalizer.std(returns), -REWARD_CLIP, REWARD_CLIP)
    return returns, discounted, scaled


def _progress(trajectory: Trajectory, agent: Agent, diagnostics: Diagnostics) -> Progress:
    finished = trajectory.finished
    return Progress(
        episodes=finished.sum(),
        return_sum=jnp.where(finished, trajectory.episode_return, 0.0).sum(),
        length_sum=jnp.where(finished, trajectory.episode_length, 0).sum(),
        failed=trajectory.failed.sum(),
        sparsity=masks.masked_out(agent),
        diverged=jnp.zeros((), bool),
        update=diagnostics,
    )
