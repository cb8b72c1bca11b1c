"""`native` takes the steps that Gymnasium's `-v4` environments take."""

import numpy as np
import pytest

from benchmarks.env_agreement import GYMNASIUM, NATIVE_TOLERANCE, differences, gymnasium_steps, one_step
from jaxprune.envs import make
from jaxprune.envs.catalogue import MUJOCO
from jaxprune.envs.mujoco.model import load


@pytest.mark.parametrize(
    "count", [pytest.param(300, id="quick"), pytest.param(10_000, id="full", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("task", GYMNASIUM)
def test_one_step_agrees(task, count):
    steps = gymnasium_steps(task, count)
    found = differences(one_step(task, "native", steps), steps)
    assert found.share_within(NATIVE_TOLERANCE[task]) == 1.0
    if task not in ("halfcheetah", "ant", "ant-contact"):  # ants fall too rarely
        assert steps.terminated.any(), "the comparison saw no end of an episode"


EFFORT = {
    "hopper": 1e-3,
    "walker2d": 1e-3,
    "halfcheetah": 0.1,
    "ant": 0.5,
    "ant-contact": 0.5,
    "humanoid": 0.1,
}
LIMIT = dict.fromkeys(EFFORT, 1.0) | {"humanoid": 0.4}


def test_ant_contact_is_the_ant_with_felt_and_charged_contacts():
    steps = gymnasium_steps("ant-contact", 300)
    with_contacts, without = (one_step(task, "native", steps) for task in ("ant-contact", "ant"))
    forces = with_contacts.observation[:, 27:]
    assert forces.shape[1] == 14 * 6
    assert np.abs(forces).max() == 1.0 and (forces != 0).any(axis=1).sum() > 50
    np.testing.assert_array_equal(with_contacts.observation[:, :27], without.observation)
    cost = 5e-4 * np.square(forces).sum(axis=1)
    np.testing.assert_allclose(without.reward - with_contacts.reward, cost, atol=1e-6)


@pytest.mark.parametrize("task", EFFORT)
def test_beyond_the_range_gymnasium_charges_raw_actions(task):
    steps = gymnasium_steps(task, 100, reach=2.0)
    raw, clipped = (one_step(task, "native", steps, charge) for charge in ("raw", "clipped"))
    assert differences(raw, steps).share_within(NATIVE_TOLERANCE[task]) == 1.0
    beyond = np.square(steps.action) - np.square(np.clip(steps.action, -LIMIT[task], LIMIT[task]))
    saved = EFFORT[task] * beyond.sum(axis=1)
    assert saved.max() > EFFORT[task] * LIMIT[task] ** 2
    np.testing.assert_allclose(clipped.reward - raw.reward, saved, rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(clipped.observation, raw.observation)


@pytest.mark.parametrize("task", GYMNASIUM)
def test_spaces_are_gymnasiums(task):
    import gymnasium

    spec = gymnasium.spec(GYMNASIUM[task])
    env = make(task, "native")
    model = load(MUJOCO[task].xml)
    assert env.horizon == spec.max_episode_steps
    assert (model.actuator_ctrlrange == [env.action_space.low, env.action_space.high]).all()
    assert model.nu == env.action_space.size
    assert env.observation_size == gymnasium_steps(task, 1).observation.shape[1]
