"""Arms as an axis of a sweep: who is who, what is shared, and that an arm without a budget is plain PPO."""

from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxprune as jp
from jaxprune import sweep as sweeps
from jaxprune.errors import SpecError
from jaxprune.policy import Agent, Normalizer
from jaxprune.population import members
from jaxprune.pruning import score
from jaxprune.training import experience
from jaxprune.training import learner as learners
from jaxprune.training.arms import read_arm
from jaxprune.training.member import Learner, Recipe
from jaxprune.training.ppo import Hyperparameters
from jaxprune.training.regularizers import REGULARIZERS
from tests.compiled import as_users_compile

SPEC = jp.SweepSpec(
    env="probe/linear",
    sparsities=(0.5,),
    eps="0.1",
    attacks="mad",
    steps=2 * 64,
    environments=2,
    unroll=32,
    epochs=2,
    minibatches=2,
    hidden=(6,),
    episodes=2,
    selection_episodes=1,
    certify_episodes=2,
)


NOTHING = {"eps": 0, "rho": 0, "spread": 1}
"""Where what an arm does is nothing."""


def without_effect(name: str) -> str:
    """The arm with what it does set to nothing."""
    numbers = {leaf: value for leaf, value in NOTHING.items() if leaf in REGULARIZERS[name].leaves}
    if name == "wocar":
        numbers["weight"] = 0  # its critic has something to say without a budget as well
    return ":".join((name, *(f"{leaf}={value}" for leaf, value in numbers.items())))


@cache
def trained(*arms: str, env: str = "probe/linear") -> tuple[sweeps.Job, sweeps.Training]:
    """Two iterations of these arms in one program."""
    asked = vars(SPEC) | {"arms": arms, "env": env}
    job = sweeps.job(jp.SweepSpec(**asked))
    return job, jax.jit(partial(sweeps.segment, job, 2))(sweeps.start(job))


def weights(job: sweeps.Job, training: sweeps.Training) -> np.ndarray:
    """[member, weight], of everything that is learned."""
    agents = sweeps.finished(job, training).agents
    return np.stack(
        [ravel_pytree(jax.tree.map(lambda leaf, i=i: leaf[i], agents))[0] for i in range(job.everyone.size)]
    )


def assert_all_are_plain_ppo(*names: str, env: str = "probe/linear") -> None:
    job, training = trained("ppo", *map(without_effect, names), env=env)
    found = weights(job, training)
    for name, own in zip(names, found[1:], strict=True):
        np.testing.assert_array_equal(own, found[0], err_msg=name)


CHEAP = ("sa-sgld", "radial", "noise", "usr")


def test_without_a_budget_an_arm_is_plain_ppo_bit_for_bit() -> None:
    assert_all_are_plain_ppo(*CHEAP)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REGULARIZERS if name not in (*CHEAP, "randomised")])
def test_without_a_budget_every_arm_is_plain_ppo_bit_for_bit(name: str) -> None:
    assert_all_are_plain_ppo(name)


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ("hopper", ("randomised",)),
        # These hold under XLA's own settings only: XLA_FLAGS= python -m pytest -m slow
        pytest.param("hopper", ("kl",), marks=pytest.mark.slow),
        pytest.param("humanoid", ("randomised", "kl"), marks=pytest.mark.slow),
    ],
)
def test_a_body_that_is_drawn_between_1_and_1_is_the_tasks_own_bit_for_bit(
    env: str, names: tuple[str, ...]
) -> None:
    with as_users_compile():
        assert_all_are_plain_ppo(*names, env=env)


def test_with_a_budget_arms_differ_and_those_of_one_program_share_it() -> None:
    # The last layer begins small, and the regulariser with it.
    weak, strong = (f"sa-sgld:eps=0.3:ramp=0:kappa={kappa}" for kappa in (100, 1000))
    arms = ("ppo", weak, strong, "noise:eps=0.5:schedule=fixed")
    job, training = trained(*arms)
    assert [group.rows.tolist() for group in job.groups] == [[0], [1, 2], [3]]
    found = weights(job, training)
    for one in range(4):
        for other in range(one):
            assert np.abs(found[one] - found[other]).max() > 1e-5
    # A member of a mixed sweep is the one that is trained alone.
    np.testing.assert_allclose(weights(*trained(arms[2]))[0], found[2], rtol=1e-4, atol=1e-5)


def test_members_are_numbered_arm_by_arm_and_twins_are_of_the_same_arm() -> None:
    spec = jp.SweepSpec(env="probe/linear", seeds=2, sparsities="0,0.5", arms="ppo,noise:eps=0.1")
    everyone = members(spec)
    assert everyone.arm.tolist() == ["ppo"] * 4 + ["noise:eps=0.1"] * 4
    assert everyone.seed.tolist() == [0, 0, 1, 1] * 2
    assert everyone.dense_twin().tolist() == [0, 0, 2, 2, 4, 4, 6, 6]


def test_an_adversary_is_trained_against_the_agent_and_shows_it_what_it_sees() -> None:
    job, training = trained("atla:eps=0.4:ramp=0")
    (learner,) = training.learners
    assert learner.adversary is not None
    before = sweeps.start(job).learners[0].adversary
    assert before is not None
    moved = jax.tree.map(
        lambda new, old: float(jnp.abs(new - old).max()), learner.adversary.agent.policy, before.agent.policy
    )
    assert min(jax.tree.leaves(moved)) > 0
    assert learner.adversary.agent.normalizer.count.item() == 0  # it reads what the agent's filter made
    assert np.abs(weights(job, training)[0] - weights(*trained("ppo"))[0]).max() > 1e-5


def test_an_adversarys_turn_is_against_the_pruned_agent_of_now_in_the_budget_of_the_next_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The turn after the second of four iterations, of an arm whose budget grows to 0.4."""
    job, training = trained("atla:eps=0.4:ramp=0")
    learner = jax.tree.map(lambda leaf: leaf[0], training.learners[0])
    grows = {"atla": {**learner.hyper.regularizers["atla"], "ramp": 1.0}}
    learner = learner.replace(hyper=learner.hyper.replace(regularizers=grows))
    moved = Normalizer(jnp.arange(4.0), jnp.full(4, 4.0), jnp.float32(9))
    halved = {
        name: jnp.arange(mask.size).reshape(mask.shape) % 2.0 for name, mask in learner.agent.mask.items()
    }
    agent, told = learner.agent.replace(normalizer=moved, mask=halved), {}

    def against(env: jp.envs.Environment, agent: Agent, adversary: object, eps: float) -> jp.envs.Environment:
        told.update(eps=eps, agent=agent)
        return env

    def iterate(env: object, recipe: Recipe, opponent: Learner, *when: object) -> tuple[Learner, None]:
        told.update(recipe=recipe, when=when)
        return opponent, None

    monkeypatch.setattr(experience, "against", against)
    monkeypatch.setattr(learners, "_iterate", iterate)
    recipe = job.groups[0].recipe.replace(activation="relu", hidden=(5, 3), epochs=3)
    after = learners._opponents_turn(job.env, recipe, learner, agent, jnp.int32(1), 4)
    assert after is not None and learner.adversary is not None
    assert float(told["eps"]) == pytest.approx(0.2)
    assert [int(n) for n in told["when"]] == [1, 4]
    assert told["agent"].mask is None
    for name, mask in halved.items():
        assert not np.any(np.asarray(told["agent"].policy[name]["kernel"])[np.asarray(mask) == 0])
    raw = after.workers.state.physics.state.observation
    np.testing.assert_allclose(after.workers.state.observation, (raw - jnp.arange(4.0)) / 2, rtol=1e-5)
    # It is neither pruned nor filtered, and in all else as the agent.
    of_agent = {"chosen": (), "schedule": Recipe().schedule, "filter": False}
    assert told["recipe"] == recipe.replace(**of_agent)


def test_an_adversary_has_its_own_step_size_and_entropy_bonus_and_meets_an_agent_that_draws() -> None:
    arm = read_arm("pa-atla:eps=0.1:adversary_rate=3:adversary_entropy=0.25")
    hyper = Hyperparameters(learning_rate=0.02, entropy_weight=0.5, regularizers=arm.leaves)
    own = experience.opponent_settings(arm.chosen[0], hyper)
    assert own == hyper.replace(learning_rate=0.06, entropy_weight=0.25, regularizers={})
    job, training = trained("atla:eps=0.4:ramp=0")
    (chosen,) = job.groups[0].recipe.chosen
    agent = jax.tree.map(lambda leaf: leaf[0], training.learners[0].agent)
    world = experience.against(job.env, agent, chosen.regularizer.adversary(), 0.0)
    state = world.reset(jax.random.key(0))
    places = []
    for seed in (1, 1, 2):
        now = state.replace(physics=state.physics.replace(key=jax.random.key(seed)))
        places.append(np.asarray(world.step(now, jnp.zeros(world.action_space.size))[0].observation))
    np.testing.assert_array_equal(places[0], places[1])
    assert np.abs(places[0] - places[2]).max() > 1e-3


def test_every_table_of_a_mixed_sweep_tells_the_arms_apart() -> None:
    spec = jp.SweepSpec(
        **vars(SPEC) | {"arms": ("ppo", "usr"), "sparsities": (0.0, 0.5), "schedule": "posthoc"}
    )
    made = jp.sweep.run(spec)
    for table in (made.results, made.certificates, made.curves, made.regret, made.sampled):
        assert table["arm"].unique(maintain_order=True).sort().to_list() == ["ppo", "usr"]
    # Post hoc, the members of an arm are masks of one policy.
    agents = made.population.agents
    kernel = agents.policy["layer_0"]["kernel"]
    np.testing.assert_array_equal(kernel[0], kernel[1])
    np.testing.assert_array_equal(kernel[2], kernel[3])
    assert np.abs(kernel[0] - kernel[2]).max() > 0
    assert [float((m == 0).mean()) for m in agents.mask["layer_0"]] == [0.0, 0.5] * 2
    dense = made.regret.filter(sparsity_asked=0.5, attack="strongest").sort("arm")["dense_clean_return"]
    clean = made.results.filter(sparsity_asked=0.0, attack="none").sort("arm")["return_mean"]
    assert dense.to_list() == clean.to_list()


# --- domain randomisation --------------------------------------------------------------------------------


def bodies(learner: Learner) -> np.ndarray:
    """[member, environment, parameter]: the factors of the bodies that are in mid-episode."""
    return np.asarray(learner.workers.state.physics.shift.factors)


def test_every_episode_of_training_has_a_body_of_its_own_within_the_members_spread() -> None:
    job, training = trained("ppo", "randomised:spread=1.2", "randomised:spread=3", env="hopper")
    plain, drawn = training.learners
    assert [group.rows.tolist() for group in job.groups] == [[0], [1, 2]]
    assert plain.workers.state.physics.shift is None
    before, after = bodies(sweeps.start(job).learners[1]), bodies(drawn)
    for factors in (before, after):
        assert np.unique(factors).size == factors.size == 2 * 2 * 5
        for of_member, spread in zip(factors, (1.2, 3.0), strict=True):
            assert 1 / spread < of_member.min() and of_member.max() < spread
    # Members of one seed begin with the same draw on the scale of their spread.
    shares = np.log(before) / np.log([[[1.2]], [[3.0]]])
    np.testing.assert_allclose(shares[0], shares[1], rtol=1e-3, atol=1e-5)
    assert not np.isin(after, before).any()
    found = weights(job, training)
    assert np.abs(found[0] - found[1]).max() > 1e-5 and np.abs(found[1] - found[2]).max() > 1e-5
    where_they_are_evaluated = sweeps.finished(job, training).env
    assert where_they_are_evaluated.reset(jax.random.key(0)).physics.shift is None


def test_the_adversary_of_atla_meets_the_bodies_of_its_agent() -> None:
    _, training = trained("atla:eps=0.1+randomised:spread=2", env="inverted_pendulum")
    (learner,) = training.learners
    assert learner.adversary is not None
    factors = np.asarray(learner.adversary.workers.state.physics.state.physics.shift.factors)
    assert 0.5 < factors.min() < 1 < factors.max() < 2


def test_gradients_for_pruning_after_training_are_of_the_drawn_bodies() -> None:
    job = sweeps.job(jp.SweepSpec(**vars(SPEC) | {"env": "inverted_pendulum", "arms": ("randomised",)}))
    recipe = job.groups[0].recipe.replace(score=score("saliency"))

    @jax.jit
    def slopes(spread: jax.Array) -> jax.Array:
        hyper = sweeps.hyperparameters(job, job.trained)
        hyper = hyper.replace(regularizers={"randomised": {"spread": spread}})
        key = jax.random.key(0)[None]
        learner = jax.vmap(partial(learners.init, job.env, recipe))(key, jnp.zeros(1), hyper)
        return ravel_pytree(jax.vmap(partial(learners.last_evidence, job.env, recipe))(learner))[0]

    found = [np.asarray(slopes(jnp.full(1, spread))) for spread in (1.0, 1.4)]
    assert np.isfinite(found).all() and np.abs(found[0] - found[1]).max() > 1e-6


@pytest.mark.slow
def test_bodies_are_drawn_on_mjx_as_well() -> None:
    """The same draws as on native, for they come from the same streams."""
    factors = []
    for physics in ("native", "mjx"):
        asked = {"env": "inverted_pendulum", "arms": ("randomised",), "physics": physics}
        job = sweeps.job(jp.SweepSpec(**vars(SPEC) | asked))
        training = jax.jit(partial(sweeps.segment, job, 1))(sweeps.start(job))
        factors.append(bodies(training.learners[0]))
        assert not training.learners[0].diverged.any()
    np.testing.assert_array_equal(*factors)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"env": "probe/linear"}, "shift: probe/linear on none has no body"),
        ({"env": "brax/hopper", "physics": "brax-spring"}, "shift: brax/hopper on brax-spring has no body"),
    ],
)
def test_a_task_without_a_body_is_refused_before_anything_is_begun(
    asked: dict[str, str], said: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(SpecError, match=said) as error:
        jp.sweep.run(jp.SweepSpec(**vars(SPEC) | {"arms": ("ppo", "randomised")} | asked), out)
    assert "\n" not in str(error.value)
    assert not out.exists()
