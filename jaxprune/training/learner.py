"""One member in training: what it carries, and one iteration of act, learn, prune."""

from dataclasses import fields
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree

from jaxprune.envs.api import Environment
from jaxprune.policy import Agent, Kernels, Normalizer, kernels, normalizer
from jaxprune.policy import agent as agents
from jaxprune.pruning import SCHEDULES, SCORES, Schedule, Score, masks
from jaxprune.pruning.scores import Evidence
from jaxprune.training import experience, ppo
from jaxprune.training.arms import Chosen
from jaxprune.training.batch import Batch, Transitions
from jaxprune.training.evidence import evidence
from jaxprune.training.ppo import Diagnostics, Hyperparameters
from jaxprune.training.regularizers import Leaves, Moment, Sizes
from jaxprune.training.regularizers.schedule import SELF_PACED, paced
from jaxprune.training.rollout import Trajectory, Workers, rollout, start

REWARD_CLIP = 10.0

OPPONENT_TAG, PACE_TAG, CRITIC_TAG, VALUE_TAG = (np.uint32(2**31 + i) for i in (4, 5, 6, 7))
"""Set the streams of opponents, self-paced budgets, further critics and next values apart, see `streams`."""


class Recipe(struct.PyTreeNode):
    """What shapes the program of one iteration; the same for every member. All fields are static.

    filter: whether an observation filter is learned; False for observations that come normalised.
    chosen: the regularisers.
    """

    environments: int = struct.field(pytree_node=False, default=16)
    unroll: int = struct.field(pytree_node=False, default=128)
    epochs: int = struct.field(pytree_node=False, default=10)
    minibatches: int = struct.field(pytree_node=False, default=8)
    hidden: tuple[int, ...] = struct.field(pytree_node=False, default=(64, 64))
    activation: str = struct.field(pytree_node=False, default="tanh")
    chosen: tuple[Chosen, ...] = struct.field(pytree_node=False, default=())
    filter: bool = struct.field(pytree_node=False, default=True)
    schedule: Schedule = struct.field(pytree_node=False, default=SCHEDULES["posthoc"])
    score: Score = struct.field(pytree_node=False, default=SCORES["magnitude"])
    scope: str = struct.field(pytree_node=False, default="layer")

    @property
    def steps(self) -> int:
        """Environment steps of one member in one iteration."""
        return self.environments * self.unroll


class Learner(struct.PyTreeNode):
    """A member's whole state: with the iteration number, enough to go on exactly where it stopped.

    agent: with the mask it has now.
    sparsity: the target. returns: running statistics of the discounted return, which scale the reward.
    score_key: fixed for the run, so that random scores keep their order.
    diverged: training has left the finite numbers; everything else is as it last was finite, and stays so.
    budgets: of the regularisers that pace themselves, by name.
    adversary: the learner that is trained against this one, turn by turn; None for most arms.
    critics: of the regularisers that learn one, by name.
    """

    agent: Agent
    sparsity: Float[Array, "*members"]
    hyper: Hyperparameters
    optimiser_state: optax.OptState
    returns: Normalizer
    discounted: Float[Array, "*members env"]
    workers: Workers
    key: Key[Array, "*members"]
    score_key: Key[Array, "*members"]
    diverged: Bool[Array, "*members"]
    budgets: dict[str, Float[Array, "*members"]] = struct.field(default_factory=dict)
    adversary: "Learner | None" = None
    critics: dict[str, Any] = struct.field(default_factory=dict)


class Progress(struct.PyTreeNode):
    """What one iteration of one member brought.

    return_sum, length_sum: over the `episodes` that ended in it (raw, undiscounted).
    failed: episodes ended by physics that was not finite.
    diverged: the member is frozen, and the iteration counts for nothing: no episodes, losses NaN.
    """

    episodes: Int[Array, "*batch"]
    return_sum: Float[Array, "*batch"]
    length_sum: Int[Array, "*batch"]
    failed: Int[Array, "*batch"]
    sparsity: Float[Array, "*batch"]
    diverged: Bool[Array, "*batch"]
    update: Diagnostics


def no_progress(iterations: int, members: int) -> Progress:
    """Room for what these iterations will bring, zeros [iteration, member]."""

    def room(kind: type = jnp.float32) -> Array:
        return jnp.zeros((iterations, members), kind)

    return Progress(
        episodes=room(jnp.int32),
        return_sum=room(),
        length_sum=room(jnp.int32),
        failed=room(jnp.int32),
        sparsity=room(),
        diverged=room(bool),
        update=Diagnostics(*(room() for _ in fields(Diagnostics))),
    )


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
    agent = agents.init(
        agent_key,
        env.observation_size,
        env.action_space.size,
        discrete=env.action_space.discrete,
        hidden=recipe.hidden,
        activation=recipe.activation,
    )
    ranking = recipe.score.of(kernels(agent.policy), score_key)
    mask = recipe.schedule.mask(masks.dense(agent.policy), ranking, sparsity, 0.0, recipe.scope)
    return Learner(
        agent=agent.replace(mask=mask),
        sparsity=sparsity,
        hyper=hyper,
        optimiser_state=ppo.optimiser(hyper, 0.0).init(cast(optax.Params, ppo.trainable(agent))),
        returns=normalizer.init(()),
        discounted=jnp.zeros(recipe.environments),
        workers=start(world, workers_key, recipe.environments),
        key=key,
        score_key=score_key,
        diverged=jnp.zeros((), bool),
        budgets={c.name: jnp.zeros(()) for c in recipe.chosen if c.schedule == SELF_PACED},
        critics=_critics(env, recipe, jax.random.fold_in(agent_key, CRITIC_TAG)),
        adversary=_opponent(world, recipe, agent, jax.random.fold_in(agent_key, OPPONENT_TAG), hyper),
    )


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
            opponent,
            losses,
        )
    )
    frozen = learner.replace(diverged=jnp.ones((), bool))
    after = jax.tree.map(lambda new, old: jnp.where(sound, new, old), after, frozen)
    return after, _counted(progress, sound, masks.of(frozen.agent))


def all_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    """Whether no number in the tree is NaN or infinite. Whole numbers always are."""
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()


def _counted(progress: Progress, sound: Bool[Array, ""], mask: Kernels) -> Progress:
    """The progress of an iteration that counts, or that of a frozen member."""
    nothing = jax.tree.map(jnp.zeros_like, progress).replace(
        sparsity=masks.sparsity(mask),
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
        learner.hyper.learning_rate * (1.0 - learner.hyper.anneal * iteration / iterations),
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
    of_weights = evidence(recipe.score.evidence, agent, batch, learner.hyper)
    mask = prune(recipe, learner, agent, (iteration + 1) / iterations, of_weights)
    after = learner.replace(
        agent=agent.replace(mask=mask),
        optimiser_state=optimiser_state,
        returns=returns,
        discounted=discounted,
        workers=workers,
        key=key,
        critics=critics,
        budgets=_paced(recipe, learner, agent.replace(mask=mask), batch, update_key),
        adversary=_opponents_turn(world, recipe, learner, agent.replace(mask=mask), iteration, iterations),
    )
    return after, _progress(trajectory, mask, diagnostics)


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
        if chosen.schedule == SELF_PACED:
            numbers, eps = learner.hyper.regularizers[chosen.name], learner.budgets[chosen.name]
            moment = Moment(eps, learner.hyper.clip, jax.random.fold_in(key, PACE_TAG))
            growth = _growth(chosen, agent.pruned(), batch, numbers, moment)
            budgets[chosen.name] = paced(eps, growth, numbers["eps"], numbers["pace"], numbers["pull"])
    return budgets


def _growth(chosen: Chosen, agent: Agent, batch: Batch, numbers: Leaves, moment: Moment) -> Float[Array, ""]:
    """The derivative of a regulariser's term by its eps."""
    regularizer = chosen.regularizer
    if regularizer.growth is not None:
        return regularizer.growth(agent, batch, numbers, moment)
    loss = regularizer.loss
    if loss is None:
        return jnp.zeros(())
    return jax.grad(lambda eps: loss(agent, batch, numbers, moment._replace(eps=eps)))(moment.eps)


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


def prune(
    recipe: Recipe,
    learner: Learner,
    agent: Agent,
    progress: Float[Array, ""] | float,
    seen: Evidence,
) -> Kernels:
    """The mask the schedule asks for once `progress` of the training is done.

    seen: what the score needs of the latest batch.
    """
    ranking = recipe.score.of(kernels(agent.policy), learner.score_key, seen)
    return recipe.schedule.mask(masks.of(learner.agent), ranking, learner.sparsity, progress, recipe.scope)


def last_evidence(env: Environment, recipe: Recipe, learner: Learner) -> Evidence:
    """What the score needs of one more batch, from which the learner learns nothing.

    Its environments go on from where they are. It is what `prune` takes once the training is done.
    """
    if not recipe.score.evidence:
        return {}
    policy, world = learner.agent.pruned(), experience.world(env, recipe.chosen, learner.hyper)
    _, trajectory = rollout(world, policy, learner.workers, learner.key, recipe.unroll)
    _, _, reward = scale_reward(learner, trajectory)
    seen = experience.transitions(policy, trajectory, reward, learner.hyper, (), learner.key)
    batch = experience.batch(seen, trajectory, learner.hyper)
    return evidence(recipe.score.evidence, learner.agent, batch, learner.hyper)


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


def _progress(trajectory: Trajectory, mask: Kernels, diagnostics: Diagnostics) -> Progress:
    finished = trajectory.finished
    return Progress(
        episodes=finished.sum(),
        return_sum=jnp.where(finished, trajectory.episode_return, 0.0).sum(),
        length_sum=jnp.where(finished, trajectory.episode_length, 0).sum(),
        failed=trajectory.failed.sum(),
        sparsity=masks.sparsity(mask),
        diverged=jnp.zeros((), bool),
        update=diagnostics,
    )
