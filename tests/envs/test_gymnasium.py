"""`native` takes the steps that Gymnasium's `-v4` environments take."""

import pytest

from benchmarks.env_agreement import GYMNASIUM, NATIVE_TOLERANCE, differences, gymnasium_steps, one_step
from jaxprune.envs import make
from jaxprune.envs.locomotion import TASKS
from jaxprune.envs.model import load


@pytest.mark.parametrize(
    "count", [pytest.param(300, id="quick"), pytest.param(10_000, id="full", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("task", GYMNASIUM)
def test_one_step_agrees(task, count):
    steps = gymnasium_steps(task, count)
    found = differences(one_step(task, "native", steps), steps)
    assert found.share_within(NATIVE_TOLERANCE[task]) == 1.0
    if task not in ("halfcheetah", "ant"):  # the ant falls too rarely
        assert steps.terminated.any(), "the comparison saw no end of an episode"


@pytest.mark.parametrize("task", GYMNASIUM)
def test_spaces_are_gymnasiums(task):
    import gymnasium

    spec = gymnasium.spec(GYMNASIUM[task])
    env = make(task, "native")
    model = load(TASKS[task].xml)
    assert env.horizon == spec.max_episode_steps
    assert (model.actuator_ctrlrange == [env.action_space.low, env.action_space.high]).all()
    assert model.nu == env.action_space.size
    assert env.observation_size == gymnasium_steps(task, 1).observation.shape[1]
