"""A mistake in a user's own body or its functions is one line that names it."""

from dataclasses import replace
from functools import partial

import jax.numpy as jnp
import mujoco
import pytest

from jaxprune import SpecError, envs
from jaxprune.envs.catalogue import MUJOCO
from jaxprune.envs.mujoco.sound import sound

BALL = """
<mujoco>
  <worldbody>
    <body><joint name="slide" type="slide" axis="1 0 0"/><geom size="0.1" mass="2"/></body>
  </worldbody>
  <actuator><motor joint="slide" ctrlrange="-2 2"/></actuator>
</mujoco>
"""
MOTOR = '<motor joint="slide" ctrlrange="-2 2"/>'


def observe(motion):
    return motion.qpos


def reward(before, after, action):
    return after.qpos[0] - before.qpos[0]


BALL_TASK = envs.MujocoTask(
    name="ball",
    about="",
    xml="ball.xml",
    frame_skip=2,
    position_noise=envs.uniform(0.1),
    velocity_noise=envs.normal(0.1),
    observe=observe,
    reward=reward,
)


@pytest.fixture(name="ball")
def _ball(tmp_path):
    def made(text=BALL, **changes):
        (tmp_path / "ball.xml").write_text(text)
        return replace(BALL_TASK, **{"xml": tmp_path / "ball.xml", **changes})

    return made


def test_what_the_task_leaves_out_is_the_files(ball):
    found = sound(ball())
    assert found.action_limit == 2.0
    assert found == replace(ball(), action_limit=2.0)
    assert sound(ball(action_limit=0.5)).action_limit == 0.5


def test_a_file_is_looked_for_beside_the_module_of_observe(ball, tmp_path):
    written = {"__file__": str(tmp_path / "mine.py")}
    exec("def observe(motion, scale):\n    return scale * motion.qpos", written)
    beside = ball(xml="ball.xml", observe=partial(written["observe"], scale=2.0))
    assert sound(beside).xml == tmp_path / "ball.xml"
    with pytest.raises(SpecError, match=r"no file 'ball.xml' in .*envs or among Gymnasium's"):
        sound(ball(xml="ball.xml"))


@pytest.mark.parametrize("task", MUJOCO.values(), ids=MUJOCO)
def test_our_own_tasks_are_sound(task):
    """They are not asked whenever they are made."""
    assert sound(task).action_limit == task.action_limit


@pytest.mark.parametrize(
    ("motor", "message"),
    [
        ("", "ball.xml has no actuators; there is nothing to control"),
        (
            f"{MOTOR}<general joint='slide' dyntype='filter' dynprm='1'/>",
            "has actuators with a state of their own",
        ),
        (f"{MOTOR}<motor joint='slide' ctrlrange='-1 1'/>", r"have ctrlrange \[-2, 2\], \[-1, 1\]; give all"),
        ("<motor joint='slide' ctrlrange='0 1'/>", r"have ctrlrange \[0, 1\]; give all the same one about 0"),
        ("<motor joint='slide'/>", r"have ctrlrange \[0, 0\]; give all the same one about 0"),
        ("<motor joint='glide'/>", "MuJoCo cannot read .*ball.xml .*glide"),
        ("<motor", "MuJoCo cannot read .*ball.xml .XML parse error"),
    ],
)
def test_a_body_that_no_policy_can_control(ball, motor, message):
    with pytest.raises(SpecError, match=message) as told:
        sound(ball(BALL.replace(MOTOR, motor)))
    assert "\n" not in str(told.value)


def falls(motion):
    return motion.readings["xpos"][1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xml": "/nowhere/ball.xml"}, "xml: there is no file /nowhere/ball.xml$"),
        ({"xml": "hoper.xml"}, r"no file 'hoper.xml' in .*; did you mean 'hopper.xml'\?"),
        ({"frame_skip": 0}, "frame_skip of ball: 0; it is at least 1"),
        ({"horizon": 0}, "horizon of ball: 0; it is at least 1"),
        ({"action_limit": -1.0}, "action_limit of ball: -1.0; it is above 0"),
        ({"readings": ("xpoz",)}, r"readings of ball: unknown name 'xpoz'; did you mean 'xpos'\?"),
        ({"readings": ("efc_force",)}, "readings of ball: unknown name 'efc_force'"),
        ({"readings": ("sensordata",)}, "ball.xml has nothing that 'sensordata' could hold"),
        ({"observe": falls}, r"observe of ball: fails at a reset, KeyError: 'xpos' .its readings are none\)"),
        ({"observe": lambda motion: motion.qpos[0]}, r"observe of ball: yields float32\[\] at a reset, not "),
        ({"observe": lambda motion: jnp.arange(3)}, r"observe of ball: yields int32\[3\] at a reset, not "),
        ({"observe": lambda motion: jnp.ones(2) / 0}, r"observe of ball: yields \[inf inf\] at a reset"),
        ({"reward": lambda before, after, action: action}, r"reward of ball: yields float32\[1\] at a reset"),
        ({"reward": lambda before, after, action: jnp.log(-1.0)}, "reward of ball: yields nan at a reset"),
        (
            {"reward": lambda before, after: 1.0},
            "reward of ball: fails at a reset, TypeError: .* 2 positional",
        ),
        (
            {"terminate": lambda after: after.qpos > 9},
            r"terminate of ball: yields bool\[1\] at a reset, not bo",
        ),
        (
            {"position_noise": lambda key, shape: jnp.ones(3)},
            r"position_noise of ball: yields \[3\] for \[1\]",
        ),
    ],
)
def test_a_mistake_in_a_field_is_one_line(ball, changes, message):
    with pytest.raises(SpecError, match=message) as told:
        sound(ball(**changes))
    assert "\n" not in str(told.value)


def test_it_is_told_when_the_environment_is_made(ball):
    with pytest.raises(SpecError, match="terminate of ball: yields float32"):
        envs.in_mujoco(ball(terminate=lambda after: after.qpos[0])).build("native", 5, "clipped")


CAPSULES = """
<mujoco>
  <worldbody>
    <geom type="hfield" hfield="hills"/>
    <body><freejoint name="slide"/><geom type="cylinder" size="0.1 0.1"/></body>
  </worldbody>
  <asset><hfield name="hills" nrow="2" ncol="2" size="1 1 1 1"/></asset>
  <actuator><motor joint="slide" gear="1 0 0 0 0 0" ctrlrange="-2 2"/></actuator>
</mujoco>
"""


def test_what_mjx_does_not_know_is_refused_and_native_moves_it(ball):
    task = envs.in_mujoco(ball(CAPSULES))
    assert task.build("native", 5, "clipped").observation_size == 7
    with pytest.raises(SpecError, match=r"physics of ball: mjx cannot move .*ball.xml"):
        task.build("mjx", 5, "clipped")


def test_files_that_the_file_names_are_found(ball, tmp_path):
    body = '<body><joint name="slide" type="slide" axis="1 0 0"/><geom size="0.1" mass="2"/></body>'
    (tmp_path / "body.xml").write_text(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
    task = ball(f'<mujoco><include file="body.xml"/><actuator>{MOTOR}</actuator></mujoco>')
    assert mujoco.MjModel.from_xml_path(str(sound(task).xml)).nv == 1
