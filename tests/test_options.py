"""Every option of a sweep acts: the number it should change is the one the formula says for its new value."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache, partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from jax.flatten_util import ravel_pytree

import jaxprune as jp
from jaxprune import certification, tables
from jaxprune import job as jobs
from jaxprune import sweep as sweeps
from jaxprune.envs.probes import HORIZON
from jaxprune.policy import ACTIVATIONS, Kernels, kernels
from jaxprune.population import environment, members
from jaxprune.progress import Meter
from jaxprune.pruning import masks
from jaxprune.training import learner as learners
from jaxprune.training import ppo, pruning
from jaxprune.training.ppo import Hyperparameters
from jaxprune.training.rollout import rollout
from tests import lines
from tests.populations import population

SPEC = jp.SweepSpec(
    env="probe/linear",
    sparsities=(0.0, 0.5),
    seeds=2,
    steps=3 * 80,
    schedule="static",
    eps=(0.05, 0.15),
    attacks=("random", "mad"),
    episodes=3,
    selection_episodes=2,
    certify_episodes=2,
    hidden=(6,),
    environments=2,
    unroll=40,
    epochs=2,
    minibatches=1,
    learning_rate=0.02,
    clip=0.1,
)
OTHER = replace(
    SPEC,
    steps=2 * 75,
    environments=3,
    unroll=25,
    epochs=3,
    minibatches=5,
    activation="relu",
    hidden=(5, 3),
    shared_filter=True,
)
"""Whatever shapes the program of an iteration, changed at once, so that one more program serves all."""

WIDER = (1.0, 1.2, 0.9, 1.1)
"""Scale of the filter of each of the four members, so that no two of them are alike."""

CHECKS: dict[tuple[str, ...], Callable[[], None]] = {}
"""What is known of the options, by their fields."""


def option(*names: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(check: Callable[[], None]) -> Callable[[], None]:
        CHECKS[names] = check
        return check

    return register


# --- the environment ------------------------------------------------------------------------------------


@option("env")
def _() -> None:
    for name, size in (("probe/linear", 4), ("probe/categorical", 3), ("probe/tabular", 6)):
        env = environment(replace(SPEC, env=name))
        assert (env.task, env.observation_size) == (name, size)


@option("physics")
def _() -> None:
    for name in ("native", "mjx"):
        env = environment(replace(SPEC, env="inverted_pendulum", physics=name))
        assert env.physics == name


@option("charge")
def _() -> None:
    action = jnp.asarray([3.0, -0.5, -2.0])
    paid = {}
    for charge in ("clipped", "raw"):
        env = environment(replace(SPEC, env="hopper", physics="native", charge=charge))
        paid[charge] = float(env.step(env.reset(jax.random.key(0)), action)[1].reward)
    # Hopper pays 0.001 |a|^2, and its actions are cut to [-1, 1].
    assert paid["clipped"] - paid["raw"] == pytest.approx(1e-3 * (9 + 4 - 2), abs=1e-5)


@option("head")
def _() -> None:
    for env, fits, does_not in (
        ("probe/linear", "gaussian", "categorical"),
        ("probe/categorical", "categorical", "gaussian"),
    ):
        for head in ("auto", fits):
            spec = replace(SPEC, env=env, head=head)
            first = jax.eval_shape(lambda spec=spec: sweeps.start(sweeps.job(spec)))
            assert (first.learners[0].agent.log_std is None) == (fits == "categorical")
        with pytest.raises(jp.SpecError, match="head"):
            environment(replace(SPEC, env=env, head=does_not))


# --- who is trained, and how networks and masks begin ---------------------------------------------------


@cache
def started(spec: jp.SweepSpec) -> sweeps.Training:
    return sweeps.start(sweeps.job(spec))


def shapes(spec: jp.SweepSpec) -> sweeps.Training:
    return jax.eval_shape(lambda: sweeps.start(sweeps.job(spec)))


def member_of(population: object, member: int) -> object:
    return jax.tree.map(lambda leaf: leaf[member], population)


def zeros(mask: Kernels, member: int) -> list[int]:
    return [int((m[member] == 0).sum()) for m in mask.values()]


@option("seeds")
def _() -> None:
    assert members(replace(SPEC, seeds=3)).seed.tolist() == [0, 0, 1, 1, 2, 2]
    assert members(replace(SPEC, seeds="3:5,9")).seed.tolist() == [3, 3, 4, 4, 9, 9]
    learner = started(SPEC).learners[0]
    later = started(replace(SPEC, seeds="1:3")).learners[0]
    for of_two, from_one in zip(*map(jax.tree.leaves, (learner.agent, later.agent)), strict=True):
        np.testing.assert_array_equal(of_two[2:], from_one[:2])
    np.testing.assert_array_equal(*map(jax.random.key_data, (learner.key[2:], later.key[:2])))
    for leaf in (learner.agent.policy["layer_0"]["kernel"], learner.workers.state.observation):
        np.testing.assert_array_equal(leaf, leaf[np.array([0, 0, 2, 2])])
        assert not np.any(leaf[0] == leaf[2])


@option("networks")
def _() -> None:
    hidden, out = 4 * 6, 6
    removed = {"actor": (1, 0), "critic": (0, 1), "both": (1, 1)}
    for networks, (of_policy, of_value) in removed.items():
        spec = replace(SPEC, networks=networks)
        agent = jax.tree.map(lambda leaf: leaf[1], started(spec).learners[0].agent)
        pruned = agent.pruned()
        for network, share in ((pruned.policy, of_policy), (pruned.value, of_value)):
            zero = [int((kernel == 0).sum()) for kernel in kernels(network).values()]
            assert zero == [share * hidden // 2, share * out // 2]
        assert (
            masks.achieved(agent) == masks.masked_out(agent) == 0.5 * (of_policy + of_value) / (1 + of_value)
        )
        x = jnp.arange(4.0)
        assert agent.state_value(x) == pruned.state_value(x)
        assert spec.where == ("layer" if networks == "actor" else f"layer, {networks}")
    both = started(replace(SPEC, networks="both")).learners[0].agent
    assert not np.array_equal(both.mask["layer_0"], both.value_mask["layer_0"])


@option("sparsities")
def _() -> None:
    everyone = members(replace(SPEC, sparsities=(0.75, 0.0, 0.5)))
    assert everyone.sparsity.tolist() == [0.75, 0.0, 0.5] * 2
    # The static schedule has its masks from the start, of 4 x 6 and 6 x 1 weights.
    mask = started(SPEC).learners[0].agent.mask
    assert [zeros(mask, member) for member in range(4)] == [[0, 0], [12, 3]] * 2


@option("steps")
def _() -> None:
    # A third iteration needs all of its 80 steps.
    for steps, iterations in ((240, 3), (239, 2), (160, 2)):
        assert shapes(replace(SPEC, steps=steps)).history.episodes.shape == (iterations, 4)
    for spec, iterations in ((SPEC, 3), (OTHER, 2)):
        after = trained(spec, 4)
        assert int(after.iteration) == iterations
        np.testing.assert_array_equal(after.learners[0].agent.normalizer.count, spec.steps)


@option("hidden")
def _() -> None:
    agent = shapes(replace(SPEC, hidden=(5, 3))).learners[0].agent
    for network in (agent.policy, agent.value):
        assert [layer["kernel"].shape for layer in network.values()] == [(4, 4, 5), (4, 5, 3), (4, 3, 1)]


def pruned(spec: jp.SweepSpec, progress: float) -> Kernels:
    """The mask that the last member, of sparsity 0.5, gets at this point of its training."""
    learner = member_of(started(SPEC).learners[0], 3)
    agent = learner.agent.replace(mask=masks.dense(learner.agent.policy))
    learner = learner.replace(agent=agent)
    recipe = jobs.recipe(spec)
    return pruning.prune(recipe, learner, pruning.rank(recipe, learner, learner.agent, {}), progress)


@option("schedule")
def _() -> None:
    # At 30 % of the training; gradual is a sixth, micro three eighths on its way.
    asked = {
        "posthoc": 0.0,
        "oneshot": 0.5,
        "gradual": 0.5 * (1 - (5 / 6) ** 3),
        "micro": 1 - 0.5 ** (3 / 8),
        "static": 0.5,
        "set": 0.5,
        "rigl": 0.5,
        "lottery": 1 - 0.5 ** (1 / 4),
    }
    for name, share in asked.items():
        found = pruned(replace(SPEC, schedule=name, steps=5 * 80), 0.3)
        assert [int((m == 0).sum()) for m in found.values()] == [round(24 * share), round(6 * share)], name


def kernels_of_last() -> Kernels:
    return kernels(member_of(started(SPEC).learners[0].agent.policy, 3))


@option("score")
def _() -> None:
    weights = jnp.abs(kernels_of_last()["layer_0"])
    kept = {
        name: pruned(replace(SPEC, schedule="oneshot", score=name), 1.0)["layer_0"] == 1
        for name in ("auto", "magnitude", "random")
    }
    for name in ("auto", "magnitude"):
        assert weights[~kept[name]].max() < weights[kept[name]].min()
    assert weights[~kept["random"]].max() > weights[kept["random"]].min()
    static = pruned(replace(SPEC, schedule="static", score="auto"), 1.0)["layer_0"] == 1
    np.testing.assert_array_equal(static, kept["random"])


@option("scope")
def _() -> None:
    weights, one_shot = kernels_of_last(), replace(SPEC, schedule="oneshot")
    layer, everywhere = (pruned(replace(one_shot, scope=scope), 1.0) for scope in ("layer", "global"))
    assert [int((m == 0).sum()) for m in layer.values()] == [12, 3]
    # The last layer begins a hundred times smaller, so it goes first.
    smallest = np.sort(np.concatenate([np.abs(w).ravel() for w in weights.values()]))[14]
    for name, weight in weights.items():
        np.testing.assert_array_equal(everywhere[name] == 0, np.abs(weight) <= smallest)
    assert [int((m == 0).sum()) for m in everywhere.values()] == [9, 6]
    # Half of each neuron's inputs. Of 15 kept in shares of 4 + 6 and 6 + 1 the last layer has all 6.
    neuron, erk = (pruned(replace(one_shot, scope=scope), 1.0) for scope in ("neuron", "erk"))
    assert [(m == 0).sum(0).tolist() for m in neuron.values()] == [[2] * 6, [3]]
    assert [int((m == 0).sum()) for m in erk.values()] == [15, 0]


# --- one iteration of PPO, against the same iteration written out -----------------------------------------

LEAVES = (
    "learning_rate",
    "anneal",
    "discount",
    "gae_lambda",
    "clip",
    "entropy_weight",
    "value_weight",
    "max_gradient_norm",
)


def hyper(spec: jp.SweepSpec) -> Hyperparameters:
    """What the members of this sweep start with."""
    job = sweeps.job(spec)
    return sweeps.hyperparameters(job, job.trained)


@cache
def _iterate(spec: jp.SweepSpec) -> Callable[[sweeps.Training], sweeps.Training]:
    return jax.jit(partial(sweeps.segment, sweeps.job(spec), 1))


@cache
def trained(spec: jp.SweepSpec, iterations: int) -> sweeps.Training:
    """The population after so many iterations; specs that differ in leaves share a program."""
    shared = replace(spec, **{name: getattr(SPEC, name) for name in LEAVES})
    training, program = started(shared), _iterate(shared)
    training = training.replace(learners=(training.learners[0].replace(hyper=hyper(spec)),))
    for _ in range(iterations):
        training = program(training)
    return training


def forward(network: dict, x: jax.Array, activation: str, mask: Kernels | None = None) -> jax.Array:
    for name, layer in network.items():
        kernel = layer["kernel"] if mask is None else layer["kernel"] * mask[name]
        x = x @ kernel + layer["bias"]
        x = x if name == f"layer_{len(network) - 1}" else ACTIVATIONS[activation](x)
    return x


def discounted(spec: jp.SweepSpec, before: learners.Learner, seen: learners.Trajectory) -> np.ndarray:
    """Rewards over the standard deviation of all discounted returns so far."""
    running, returns = np.float64(before.discounted), []
    for reward, finished in zip(np.asarray(seen.reward), np.asarray(seen.finished), strict=True):
        running = spec.discount * running + reward
        returns.extend(running)
        running = np.where(finished, 0.0, running)
    old, n = before.returns, float(before.returns.count)
    count = n + len(returns)
    mean = (n * float(old.mean) + np.sum(returns)) / count
    square = (n * float(old.variance + old.mean**2) + np.sum(np.square(returns))) / count
    return np.clip(np.asarray(seen.reward) / np.sqrt(square - mean**2), -10, 10)


@partial(jax.jit, static_argnames="activation")
@jax.grad
def slope_of_loss(
    moved: ppo.Trainable, mask: Kernels, data: tuple[jax.Array, ...], settings: tuple, activation: str
) -> jax.Array:
    """-E min(ratio A, clip(ratio) A) + value_weight E (V - target)^2 / 2 - entropy_weight H."""
    x, action, log_prob, gain, target = data
    clip, value_weight, entropy_weight = settings
    z = (action - forward(moved.policy, x, activation, mask)[:, 0]) * jnp.exp(-moved.log_std[0])
    ratio = jnp.exp(-0.5 * z**2 - moved.log_std[0] - 0.5 * jnp.log(2 * jnp.pi) - log_prob)
    gain = (gain - gain.mean()) / gain.std()
    surrogate = jnp.minimum(ratio * gain, jnp.clip(ratio, 1 - clip, 1 + clip) * gain).mean()
    error = 0.5 * jnp.mean((forward(moved.value, x, activation)[:, 0] - target) ** 2)
    entropy = moved.log_std[0] + 0.5 * jnp.log(2 * jnp.pi * jnp.e)
    return -surrogate + value_weight * error - entropy_weight * entropy


def by_hand(spec: jp.SweepSpec, before: learners.Learner, iteration: int) -> ppo.Trainable:
    """What one iteration makes of the weights of one member, from the options and the experience alone."""
    _, acting_key, order_key = jax.random.split(before.key, 3)
    policy = before.agent.pruned()
    seen = _experience(environment(spec), policy, before.workers, acting_key, spec.unroll)
    assert seen.reward.shape == (spec.unroll, spec.environments)
    reward, filtered = discounted(spec, before, seen), before.agent.normalizer

    def normalised(observation: jax.Array) -> jax.Array:
        return jnp.clip((observation - filtered.mean) / jnp.sqrt(filtered.variance), -10, 10)

    v, v_next = (
        np.float64(forward(before.agent.value, normalised(o), spec.activation)[..., 0])
        for o in (seen.observation, seen.next_observation)
    )
    advantage, carried, finished = np.zeros_like(v), np.zeros(v.shape[1]), np.asarray(seen.finished)
    for t in reversed(range(spec.unroll)):
        carried = np.where(finished[t], 0.0, carried)
        carried = reward[t] + spec.discount * v_next[t] - v[t] + spec.discount * spec.gae_lambda * carried
        advantage[t] = carried
    data = (
        normalised(seen.observation).reshape(-1, 4),
        seen.action.ravel(),
        seen.log_prob.ravel(),
        jnp.asarray(advantage.ravel(), jnp.float32),
        jnp.asarray((advantage + v).ravel(), jnp.float32),
    )
    order = jnp.argsort(jax.random.bits(order_key, (spec.epochs, seen.reward.size)), axis=-1)
    parts = order.reshape(spec.epochs * spec.minibatches, -1)
    settings = (spec.clip, spec.value_weight, spec.entropy_weight)
    rate = spec.learning_rate * (1 - iteration / spec.iterations if spec.anneal else 1)
    adam = before.optimiser_state[1]
    weights, unravel = ravel_pytree(ppo.trainable(before.agent))
    mean, square = (np.float64(ravel_pytree(moment)[0]) for moment in (adam.mu, adam.nu))
    for count, rows in enumerate(parts, start=int(adam.count) + 1):
        part = tuple(column[rows] for column in data)
        slope = slope_of_loss(unravel(weights), before.agent.mask, part, settings, spec.activation)
        slope = np.float64(ravel_pytree(slope)[0])
        slope *= min(1.0, spec.max_gradient_norm / np.linalg.norm(slope))
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        step = mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.999**count)) + 1e-5)
        weights = weights - jnp.asarray(rate * step, jnp.float32)
    return unravel(weights)


_experience = jax.jit(lambda *arguments: rollout(*arguments)[1], static_argnums=(0, 4))


MEMBER = 3
"""Seed 1 at sparsity 0.5: neither the first seed nor the first sparsity."""


def weights(training: sweeps.Training) -> np.ndarray:
    """All weights of the member, one after the other."""
    return flat(ppo.trainable(member_of(training.learners[0].agent, MEMBER)))


def flat(tree: ppo.Trainable) -> np.ndarray:
    return np.asarray(ravel_pytree(tree)[0])


def assert_learns_as_asked(iterations: int = 1, **change: object) -> None:
    """The changed option leads to the weights computed by hand, and these are others than without it."""
    spec = replace(SPEC, **change)
    before = member_of(trained(spec, iterations - 1).learners[0], MEMBER)
    found = weights(trained(spec, iterations))
    np.testing.assert_allclose(found, flat(by_hand(spec, before, iterations - 1)), atol=2e-4)
    assert np.abs(found - weights(trained(SPEC, iterations))).max() > 2e-3


def test_without_a_change_the_weights_are_those_computed_by_hand() -> None:
    before = member_of(trained(SPEC, 1).learners[0], MEMBER)
    np.testing.assert_allclose(weights(trained(SPEC, 2)), flat(by_hand(SPEC, before, 1)), atol=2e-4)


@option("learning_rate")
def _() -> None:
    assert_learns_as_asked(learning_rate=0.01)
    # Adam's first steps are about as long as the rate.
    first, slow, fast = (
        weights(started(SPEC)),
        weights(trained(replace(SPEC, learning_rate=0.002), 1)),
        weights(trained(SPEC, 1)),
    )
    assert 5 < np.abs(fast - first).sum() / np.abs(slow - first).sum() < 15


@option("anneal")
def _() -> None:
    # In the first iteration the rate is whole, in the second of three it is two thirds.
    np.testing.assert_array_equal(weights(trained(replace(SPEC, anneal=False), 1)), weights(trained(SPEC, 1)))
    assert_learns_as_asked(iterations=2, anneal=False)


@option("discount")
def _() -> None:
    assert_learns_as_asked(discount=0.6)


@option("gae_lambda")
def _() -> None:
    assert_learns_as_asked(gae_lambda=0.3)


@option("clip")
def _() -> None:
    assert_learns_as_asked(clip=0.005)
    fractions = [
        float(trained(replace(SPEC, clip=clip), 1).history.update.clip_fraction[0, MEMBER])
        for clip in (0.005, 0.1, 10.0)
    ]
    # The second of two passes alone meets ratios that are not 1.
    assert 0.5 > fractions[0] > fractions[1] > fractions[2] == 0.0


@option("entropy_weight")
def _() -> None:
    assert_learns_as_asked(entropy_weight=1.0)
    spread = [
        float(trained(replace(SPEC, entropy_weight=w), 1).learners[0].agent.log_std[MEMBER, 0])
        for w in (0.0, 1.0)
    ]
    assert spread[0] < spread[1]


@option("value_weight")
def _() -> None:
    assert_learns_as_asked(value_weight=0.0)
    still = trained(replace(SPEC, value_weight=0.0), 1).learners[0].agent.value
    for one, other in zip(
        jax.tree.leaves(still), jax.tree.leaves(started(SPEC).learners[0].agent.value), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@option("max_gradient_norm")
def _() -> None:
    assert_learns_as_asked(max_gradient_norm=1e-4)


@option("environments", "unroll", "epochs", "minibatches", "activation")
def _() -> None:
    before, after = (member_of(trained(OTHER, done).learners[0], MEMBER) for done in (1, 2))
    np.testing.assert_allclose(flat(ppo.trainable(after.agent)), flat(by_hand(OTHER, before, 1)), atol=2e-4)
    assert after.optimiser_state[1].count == 2 * 3 * 5
    assert after.workers.episode_length.tolist() == [50 - HORIZON] * 3
    x = jnp.asarray([1.0, -2.0, 0.5, 3.0])
    for name, rule in (("relu", jax.nn.relu), ("swish", jax.nn.swish)):
        agent = after.agent.replace(activation=name)
        first, second, last = agent.value.values()
        hidden = rule(x @ first["kernel"] + first["bias"])
        hidden = rule(hidden @ second["kernel"] + second["bias"])
        wanted = hidden @ last["kernel"] + last["bias"]
        np.testing.assert_allclose(agent.state_value(x), wanted[0], rtol=1e-5)


@option("arms")
def _() -> None:
    """A regulariser moves the weights, one of weight 0 does not move them by a bit."""
    job = sweeps.job(replace(SPEC, arms="sa-sgld:kappa=300:eps=0.2"))
    leaves = jax.eval_shape(lambda: sweeps.start(job)).learners[0].hyper.regularizers["sa-sgld"]
    assert leaves["kappa"].shape == (4,)
    arms = ("ppo", *(f"sa-sgld:kappa={kappa}:eps=0.2:ramp=0" for kappa in (0, 300)))
    mixed = sweeps.job(replace(SPEC, arms=arms))
    first, others = jax.jit(partial(sweeps.segment, mixed, 1))(sweeps.start(mixed)).learners
    plain, still, moved = (
        flat(ppo.trainable(member_of(group.agent, row)))
        for group, row in ((first, MEMBER), (others, MEMBER), (others, 4 + MEMBER))
    )
    np.testing.assert_array_equal(still, plain)
    assert np.abs(moved - plain).max() > 1e-3


@option("shared_filter")
def _() -> None:
    """Of the four members, 0 and 2 are the dense ones."""
    own, shared = (trained(spec, 1).learners[0].agent.normalizer for spec in (SPEC, OTHER))
    for leaf in (shared.mean, shared.variance):
        np.testing.assert_array_equal(leaf, leaf[np.array([0, 0, 2, 2])])
        assert np.abs(leaf[0] - leaf[2]).max() > 1e-3
    assert np.abs(own.mean[0] - own.mean[1]).max() > 1e-3
    dense = member_of(started(OTHER).learners[0], 2)
    key = jax.random.split(dense.key, 3)[1]
    seen = _experience(environment(OTHER), dense.agent, dense.workers, key, OTHER.unroll)
    np.testing.assert_allclose(shared.mean[3], seen.observation.mean((0, 1)), rtol=1e-4, atol=1e-5)


# --- attacks on policies whose attacked return is known -------------------------------------------------

RAW = replace(
    SPEC, norm="l2", space="raw", attacks=("mad", "random"), eps=(0.3, 0.1), episodes=2, selection_episodes=4
)


def on_lines(spec: jp.SweepSpec) -> tuple[sweeps.Job, jp.Population]:
    """The four linear policies as the members of a sweep."""
    job = sweeps.job(spec)
    return job, population(lines.population(*WIDER), job.env, spec.budgets[0], spec)


@cache
def evaluated(spec: jp.SweepSpec) -> tuple[pl.DataFrame, np.ndarray]:
    """The results of the four linear policies, and their returns [member, budget, episode]."""
    job, everyone = on_lines(spec)
    with Meter() as meter:
        tally = sweeps.evaluate(job, everyone, meter)
    return tables.results(spec, everyone, tally), tally.total


@option("attacks", "eps", "norm", "space")
def _() -> None:
    for spec, labels in (
        (SPEC, [("none", 0.0), ("random", 0.05), ("random", 0.15), ("mad", 0.05), ("mad", 0.15)]),
        (RAW, [("none", 0.0), ("mad", 0.3), ("mad", 0.1), ("random", 0.3), ("random", 0.1)]),
    ):
        table, total = evaluated(spec)
        assert table["outside_ball"].sum() == 0
        for member, wider in enumerate(WIDER):
            rows = table.filter(member=member)
            assert rows.select("attack", "eps").rows() == labels
            assert set(rows.select("norm", "space").rows()) == {(spec.norm, spec.space)}
            for place, (attack, eps) in enumerate(labels):
                assert_attacked(total[member, place], attack, lines.shift(eps, spec.norm, spec.space, wider))
    assert replace(SPEC, env="hopper", eps="published").budgets == (jp.Budget(0.075),)


def assert_attacked(total: np.ndarray, attack: str, shift: float) -> None:
    """MAD leaves the point off by `shift`; where the first action meets its limit, once by less."""
    known = HORIZON * (1 - shift**2)
    if attack == "random":
        assert known + 1e-3 < total.min() <= total.max() < HORIZON - 1e-4
    else:
        assert total.min() == pytest.approx(known, rel=1e-4)
        assert total.max() <= known + shift**2 + 1e-3


@option("episodes", "selection_episodes")
def _() -> None:
    for spec in (SPEC, RAW):
        table, total = evaluated(spec)
        assert total.shape == (4, 5, spec.episodes + spec.selection_episodes)
        for member, place in ((0, 1), (3, 4)):
            row, returns = table.row(5 * member + place, named=True), total[member, place]
            assert row["episodes"] == spec.episodes
            assert row["return_mean"] == pytest.approx(returns[: spec.episodes].mean(), rel=1e-6)
            assert row["selection_mean"] == pytest.approx(returns[spec.episodes :].mean(), rel=1e-6)
    assert row["return_mean"] != row["selection_mean"]


@option("certify_episodes")
def _() -> None:
    spec = replace(SPEC, certify_episodes=5)
    with Meter() as meter:
        tally, visits = sweeps.visit(*on_lines(spec), meter)
    assert tally.total.shape == (4, 1, 5)
    assert visits.observation.shape[2:] == (5, 4)
    assert visits.alive.sum() == 4 * 5 * HORIZON


@option("shift_episodes")
def _() -> None:
    spec = replace(SPEC, env="hopper", physics="native", shift_episodes=7)
    job, without = sweeps.job(spec), sweeps.job(replace(spec, shift_episodes=0))
    assert job.shifts == jp.ShiftSpec(episodes=7) and without.shifts is None
    # The task itself, 6 factors of 5 parameters, and 64 draws of all of them: four members, 1000 steps each.
    assert job.steps - without.steps == 4 * (1 + 6 * 5 + 64) * 7 * 1000
    with pytest.raises(jp.SpecError, match="shift: probe/linear on none has no body"):
        sweeps.job(replace(SPEC, shift_episodes=1))


@option("return_episodes")
def _() -> None:
    spec = replace(SPEC, return_episodes=40)
    job, without = sweeps.job(spec), sweeps.job(SPEC)
    assert job.returned.return_episodes == 40 and without.return_steps == 0
    # 40 clean episodes, and 10 under MAD at each of three radii, of four members.
    assert job.steps - without.steps == 4 * (40 + 3 * 10) * HORIZON
    with pytest.raises(jp.SpecError, match="return_episodes: 6 are too few"):
        sweeps.job(replace(SPEC, return_episodes=6))


@option("return_eps")
def _() -> None:
    job = sweeps.job(replace(SPEC, return_episodes=40, return_eps="0.1,0.2"))
    assert job.returned.radii == (0.1, 0.2) and job.return_steps == 4 * (40 + 2 * 10) * HORIZON
    with pytest.raises(jp.SpecError, match="return_eps: cannot read 'small'"):
        replace(SPEC, return_eps="small")


@option("return_std")
def _() -> None:
    job = sweeps.job(replace(SPEC, return_episodes=40, return_std="1.5,2"))
    # The policy with its own standard deviation is played as well.
    assert job.returned.played == (1.0, 1.5, 2.0) and job.return_steps == 3 * 4 * (40 + 3 * 10) * HORIZON
    with pytest.raises(jp.SpecError, match="return_std: got 0, needs positive factors"):
        sweeps.job(replace(SPEC, return_std="0"))
    with pytest.raises(jp.SpecError, match="return_std: a categorical policy has no standard deviation"):
        sweeps.job(replace(SPEC, env="probe/categorical", return_episodes=40, return_std="2"))


@option("verdict_error")
def _() -> None:
    assert SPEC.error == 0.05
    assert replace(SPEC, seeds=9, verdict_error=0.01).error == 0.01
    # n seeds cannot give a smaller two-sided probability than 2 / 2^n.
    for error, enough in ((0.05, 6), (0.01, 8)):
        assert replace(SPEC, seeds=enough, verdict_error=error).error == error
        with pytest.raises(jp.SpecError, match=f"seeds: {enough - 1} can give no verdict"):
            replace(SPEC, seeds=enough - 1, verdict_error=error)
    with pytest.raises(jp.SpecError, match="which 2 arms share; at least 7"):
        replace(SPEC, seeds=6, arms="ppo,sa-sgld:eps=0.1", verdict_error=0.05)
    assert replace(SPEC, seeds=7, arms="ppo,sa-sgld:eps=0.1", verdict_error=0.05).families == 2
    assert error_of_the_verdicts(SPEC) == 0.05
    assert error_of_the_verdicts(replace(SPEC, seeds=8, verdict_error=0.01)) == 0.01


def error_of_the_verdicts(spec: jp.SweepSpec) -> float:
    """What a sweep asks of its verdicts, with everything before them left out."""
    nothing = SimpleNamespace(history=None)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("train", "finished", "evaluate", "certify", "decompose"):
            patch.setattr(sweeps, name, lambda *_: nothing)
        patch.setattr(sweeps, "visit", lambda *_: (None, None))
        patch.setattr(sweeps, "shift", lambda *_: None)
        patch.setattr(sweeps, "certified_returns", lambda *_: None)
        for name in ("results", "curves", "episodes", "returns", "layers"):
            patch.setattr(tables, name, lambda *_: None)
        patch.setattr(certification, "certificates", lambda *_: None)
        patch.setattr(sweeps, "sweet_spots", lambda regret, alpha: alpha)
        return sweeps.run(spec).verdicts


def test_every_option_is_checked() -> None:
    """Whoever adds a field says here which number it changes."""
    assert sorted(name for names in CHECKS for name in names) == sorted(
        field.name for field in fields(jp.SweepSpec)
    )


@pytest.mark.parametrize("names", CHECKS, ids=",".join)
def test_the_options_act(names: tuple[str, ...]) -> None:
    CHECKS[names]()
