"""Arms as an axis of a sweep: who is who, what is shared, and that an arm without a budget is plain PPO."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxprune as jp
from jaxprune import sweep as sweeps
from jaxprune.population import members
from jaxprune.training.regularizers import REGULARIZERS

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


def without_effect(name: str) -> str:
    """The arm with what it does set to nothing."""
    leaf = "eps" if "eps" in REGULARIZERS[name].leaves else "rho"
    rest = ":weight=0" if name == "wocar" else ""  # its critic has something to say without a budget as well
    return f"{name}:{leaf}=0{rest}"


@cache
def trained(*arms: str) -> tuple[sweeps.Job, sweeps.Training]:
    """Two iterations of these arms in one program."""
    asked = {"env": "probe/linear"} | vars(SPEC) | {"arms": arms}
    job = sweeps.job(jp.SweepSpec(**asked))
    return job, jax.jit(partial(sweeps.segment, job, 2))(sweeps.start(job))


def weights(job: sweeps.Job, training: sweeps.Training) -> np.ndarray:
    """[member, weight], of everything that is learned."""
    agents = sweeps.finished(job, training).agents
    return np.stack(
        [ravel_pytree(jax.tree.map(lambda leaf, i=i: leaf[i], agents))[0] for i in range(job.everyone.size)]
    )


def assert_all_are_plain_ppo(*names: str) -> None:
    job, training = trained("ppo", *map(without_effect, names))
    found = weights(job, training)
    for name, own in zip(names, found[1:], strict=True):
        np.testing.assert_array_equal(own, found[0], err_msg=name)


CHEAP = ("sa-sgld", "radial", "noise", "usr")


def test_without_a_budget_an_arm_is_plain_ppo_bit_for_bit() -> None:
    assert_all_are_plain_ppo(*CHEAP)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REGULARIZERS if name not in CHEAP])
def test_without_a_budget_every_arm_is_plain_ppo_bit_for_bit(name: str) -> None:
    assert_all_are_plain_ppo(name)


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
