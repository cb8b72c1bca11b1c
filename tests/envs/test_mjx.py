"""`mjx` takes the steps that `native` takes. Most of the time here is compilation."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.env_agreement import GYMNASIUM, MJX_TOLERANCE, differences, gymnasium_steps, one_step
from jaxprune.envs import make
from jaxprune.envs.catalogue import MUJOCO
from jaxprune.envs.mujoco import mjx
from jaxprune.envs.mujoco.task import CONTACT_FORCES


@pytest.mark.parametrize("physics", ["mjx", "mjx-warp"])
@pytest.mark.parametrize(
    "task",
    [pytest.param(task, marks=() if task == "inverted_pendulum" else pytest.mark.slow) for task in GYMNASIUM],
)
def test_one_step_agrees(task, physics):
    if physics == "mjx-warp":
        pytest.importorskip("warp")
        if CONTACT_FORCES in MUJOCO[task].readings:
            pytest.skip("Warp's step leaves them out")
    steps = gymnasium_steps(task, 640).every(10)
    found = differences(one_step(task, physics, steps), one_step(task, "native", steps))
    share = found.share_within(MJX_TOLERANCE)
    # steep capsules, see MJX_TOLERANCE: 56 of 64 steps of the ant agreed where this was measured
    assert share >= 0.75 if task in ("ant", "ant-contact") else share == 1.0


def test_the_limits_of_a_task_are_the_solvers(monkeypatch):
    seen, put_model = [], mjx.mjx.put_model

    def watched(body):
        seen.append((body.opt.iterations, body.opt.ls_iterations))
        return put_model(body)

    monkeypatch.setattr(mjx.mjx, "put_model", watched)
    pendulum = MUJOCO["inverted_pendulum"]
    mjx.engine(pendulum)
    mjx.engine(replace(pendulum, mjx_iterations=7, mjx_ls_iterations=3))
    assert seen == [(100, 50), (7, 3)]


def test_a_failure_ends_the_episode_and_it_stays():
    env = make("inverted_pendulum", "mjx")
    state = env.reset(jax.random.key(0))
    broken = state.replace(physics=state.physics.replace(qvel=jnp.full(2, jnp.nan)))
    step = jax.jit(env.step)
    over, transition = step(broken, jnp.zeros(1))
    assert transition.failed and transition.terminated and transition.reward == 0.0
    after, nothing = step(over.replace(physics=state.physics), jnp.ones(1))
    jax.tree.map(np.testing.assert_array_equal, after.physics, state.physics)
    assert after.ended and after.time == over.time
    assert nothing.reward == 0.0 and not nothing.failed and not nothing.terminated
