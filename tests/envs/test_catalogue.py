"""All tasks stand in one list, and a task that a user adds to it is a task like any other."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprune as jp
from jaxprune import SpecError, envs
from jaxprune.envs import ActionSpace, Environment, Task
from jaxprune.envs.catalogue import MUJOCO
from jaxprune.envs.mujoco.engine import ENGINES, in_mujoco
from jaxprune.envs.mujoco.task import never


@pytest.fixture(name="list_task")
def _list_task():
    """`envs.add`, undone after the test."""
    before = dict(envs.TASKS)
    yield envs.add
    envs.TASKS.clear()
    envs.TASKS.update(before)


@pytest.mark.parametrize("name", envs.TASKS)
def test_a_task_is_listed_with_all_that_is_asked_of_it(name):
    task = envs.TASKS[name]
    assert task.name == name
    assert task.about
    assert task.horizon >= 1
    assert envs.physics_names(name) == task.physics != ()
    assert task.on_accelerator in (None, *task.physics)


@pytest.mark.parametrize("name", [name for name in envs.TASKS if not name.startswith(("brax/", "gymnax/"))])
def test_an_environment_is_what_was_asked_for(name):
    task = envs.TASKS[name]
    env = envs.make(name)
    assert (env.task, env.physics, env.horizon) == (name, task.physics[0], task.horizon)
    assert env.published_eps == task.published_eps == envs.published_eps(name)
    assert envs.make(name, horizon=3).horizon == 3


def test_the_published_radii_are_those_of_the_sa_ppo_tables():
    published = {"hopper": 0.075, "walker2d": 0.05, "halfcheetah": 0.15, "humanoid": 0.075, "ant": 0.15}
    listed = {name: task.published_eps for name, task in envs.TASKS.items() if task.published_eps}
    assert listed == published | {"ant-contact": 0.15}


def test_every_engine_moves_every_task_of_mujoco_and_mjx_is_for_accelerators(monkeypatch):
    assert {envs.physics_names(name) for name in MUJOCO} == {tuple(ENGINES)}
    task = replace(envs.TASKS["hopper"], build=countdown)
    monkeypatch.setitem(envs.TASKS, "hopper", task)
    assert envs.make("hopper").physics == "native"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert envs.make("hopper").physics == "mjx"
    assert envs.make("probe/linear").physics == "none"


def test_the_names_need_neither_an_engine_nor_a_device():
    program = """
import sys
from jaxprune import envs
envs.tasks(), envs.physics_names("brax/ant"), envs.published_eps("ant"), envs.check_charge("ant", "raw")
from jax._src import xla_bridge
print(sorted(name for name in ("mujoco", "mujoco.mjx", "brax") if name in sys.modules))
print(xla_bridge.backends_are_initialized())
"""
    root = Path(envs.__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert found.stdout.split("\n")[:2] == ["[]", "False"]


def test_a_name_is_listed_once(list_task):
    with pytest.raises(SpecError, match="task: 'hopper' is listed already"):
        list_task(envs.TASKS["hopper"])


# --- a user's task --------------------------------------------------------------------------------------


def countdown(physics, horizon, charge):
    """A number that falls by |action|; what it loses is earned, and below 0 the episode ends."""

    def reset(key):
        number = jax.random.uniform(key, (1,), minval=1.0, maxval=2.0)
        return envs.begin(number, number)

    def step(state, action):
        loss = jnp.abs(jnp.clip(action, -1.0, 1.0))
        number = state.physics - loss
        return envs.proceed(
            state, number, number, loss[0], terminated=number[0] < 0, horizon=horizon, watched=action
        )

    return Environment(
        "?", physics, 1, ActionSpace(1), horizon, reset, step, reward_range=(0.0, 1.0), charge=charge
    )


MINE = Task("mine", "count down", countdown, horizon=8, published_eps=0.2)


def test_a_users_task_is_swept_without_a_change_to_the_library(list_task):
    list_task(MINE)
    assert envs.make("mine") is envs.make("mine", "none")
    assert envs.make("mine", horizon=3).horizon == 3
    spec = jp.SweepSpec(
        env="mine",
        sparsities="0,0.5",
        steps=64,
        environments=4,
        unroll=8,
        epochs=1,
        minibatches=1,
        hidden=(4,),
        episodes=2,
        selection_episodes=1,
        certify_episodes=2,
        attacks="random",
    )
    assert [budget.eps for budget in spec.budgets] == [0.2]
    swept = jp.sweep.run(spec)
    assert set(swept.results["task"]) == {"mine"}
    assert set(swept.results["eps"]) == {0.0, 0.2}
    # an episode earns at most what the number loses: its start, below 2, and less than 1 at the last step
    assert swept.episodes["return"].is_between(0, 3).all()
    np.testing.assert_array_equal(sorted(set(swept.results["sparsity_asked"])), [0.0, 0.5])
    with pytest.raises(SpecError, match="mine allows only 'clipped'"):
        jp.SweepSpec(env="mine", charge="raw")


def test_without_its_entry_a_users_task_is_unknown(list_task):
    list_task(MINE)
    del envs.TASKS["mine"]
    with pytest.raises(SpecError, match="task: unknown name 'mine'"):
        envs.make("mine")


BALL = """
<mujoco>
  <worldbody>
    <body><joint name="slide" type="slide" axis="1 0 0"/><geom size="0.1" mass="2"/></body>
  </worldbody>
  <actuator><motor joint="slide" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


def test_a_users_body_is_one_entry_too(list_task, tmp_path):
    (tmp_path / "ball.xml").write_text(BALL)
    slide = replace(
        MUJOCO["inverted_pendulum"],
        name="slide",
        xml=str(tmp_path / "ball.xml"),
        action_limit=1.0,
        effort=0.5,
        observe=lambda motion: motion.qpos,
        terminate=never,
    )
    list_task(in_mujoco(slide))
    env = envs.make("slide", charge="raw")
    state = env.reset(jax.random.key(0))
    after, transition = env.step(state, jnp.asarray([2.0]))
    # 1 N on 2 kg, over two steps of 2 ms: semi-implicit Euler is at v dt + 3 a dt^2
    speed = state.physics.qvel
    np.testing.assert_allclose(
        after.observation, state.observation + 2 * 0.002 * speed + 3 * 0.5 * 0.002**2, rtol=1e-5
    )
    assert transition.reward == 1.0 - 0.5 * 2.0**2
