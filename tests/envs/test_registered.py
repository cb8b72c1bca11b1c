"""`gymnasium:ID` takes the steps that the environment of that name takes, or says why it cannot."""

import sys
from types import ModuleType

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

from benchmarks.env_agreement import GYMNASIUM, Steps, differences, stepper
from jaxprune import SpecError, SweepSpec, envs
from jaxprune.envs.catalogue import MUJOCO
from jaxprune.envs.mujoco import model, native, registered
from jaxprune.envs.mujoco.engine import embody
from jaxprune.envs.mujoco.sound import sound
from jaxprune.envs.mujoco.task import Motion

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Gymnasium's of version 4


@pytest.fixture(name="register")
def _register():
    """`gymnasium.register`, undone after the test."""
    before = dict(gymnasium.registry)

    def registers(name, entry_point, max_episode_steps=70, **options):
        gymnasium.register(name, entry_point, max_episode_steps=max_episode_steps, **options)
        return f"gymnasium:{name}"

    yield registers
    gymnasium.registry.clear()
    gymnasium.registry.update(before)
    registered.task.cache_clear()


def their_steps(identifier, count):
    """Single steps of Gymnasium's from states met by random actions; each starts from rounded numbers."""
    rng, rows = np.random.default_rng(0), []
    with model.silent():
        env = gymnasium.make(identifier).unwrapped
    env.reset(seed=0)
    for index in range(count):
        qpos, qvel = (array.astype(np.float32) for array in (env.data.qpos, env.data.qvel))
        action = 1.2 * rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        env.set_state(qpos.astype(np.float64), qvel.astype(np.float64))
        observation, reward, terminated, _, _ = env.step(action)
        rows.append((qpos, qvel, action, observation, reward, terminated))
        if terminated or index % 50 == 49:
            env.reset()
    return Steps(*(np.array(column) for column in zip(*rows, strict=True)))


def our_steps(name, steps):
    task = sound(registered.record(name))
    engine = native.engine(task)
    env = embody(task, engine, "native", task.horizon, "raw")
    return jax.device_get(stepper(env, task, engine)(steps.qpos, steps.qvel, steps.action))


def check_same(name, tolerance=1e-5, count=150):
    steps = their_steps(name.removeprefix("gymnasium:"), count)
    found = differences(our_steps(name, steps), steps)
    assert found.share_within(tolerance) == 1.0, (found.observation.max(), found.reward.max())
    return steps


# see benchmarks.env_agreement: positions far from 0 in float32, and a solver that starts warm
TOLERANCES = {"HalfCheetah-v5": 1e-4, "Humanoid-v5": 1e-3}


@pytest.mark.parametrize("name", [name for name in registered.known_names() if name.endswith("-v5")])
def test_version_5_as_it_is_registered(name):
    identifier = name.removeprefix("gymnasium:")
    steps = check_same(name, TOLERANCES.get(identifier, 1e-5))
    if identifier.split("-")[0] not in ("HalfCheetah", "Swimmer", "Ant"):
        assert steps.terminated.any()
    assert envs.named(name).horizon == gymnasium.spec(identifier).max_episode_steps


PACKAGE = "gymnasium.envs.mujoco"
NUMBERS = {
    "hopper": (
        f"{PACKAGE}.hopper_v4:HopperEnv",
        {
            "forward_reward_weight": 2.0,
            "ctrl_cost_weight": 0.03,
            "healthy_reward": 0.7,
            "healthy_state_range": (-1.5, 2.0),
            "healthy_z_range": (0.9, 1.24),
            "healthy_angle_range": (-0.1, 0.05),
            "terminate_when_unhealthy": False,
            "exclude_current_positions_from_observation": False,
        },
    ),
    "walker": (
        f"{PACKAGE}.walker2d_v5:Walker2dEnv",
        {"xml_file": "walker2d.xml", "frame_skip": 2, "healthy_z_range": (1.1, 1.3), "healthy_reward": 3.0},
    ),
    "cheetah": (
        f"{PACKAGE}.half_cheetah_v4:HalfCheetahEnv",
        {"ctrl_cost_weight": 0.2, "exclude_current_positions_from_observation": False},
    ),
    "ant": (
        f"{PACKAGE}.ant_v4:AntEnv",
        {"use_contact_forces": True, "contact_force_range": (-0.3, 0.5), "healthy_z_range": (0.4, 0.8)},
    ),
    "bare-ant": (
        f"{PACKAGE}.ant_v5:AntEnv",
        {
            "forward_reward_weight": 0.5,
            "contact_cost_weight": 0.0,
            "include_cfrc_ext_in_observation": False,
            "main_body": "aux_1",
            "terminate_when_unhealthy": False,
            "healthy_z_range": (0.5, 0.7),
            "exclude_current_positions_from_observation": False,
        },
    ),
    "humanoid": (
        f"{PACKAGE}.humanoid_v5:HumanoidEnv",
        {
            "contact_cost_weight": 1e-3,
            "contact_cost_range": (0.5, 2.0),
            "include_cvel_in_observation": False,
            "include_cfrc_ext_in_observation": False,
            "ctrl_cost_weight": 0.3,
        },
    ),
    "double": (f"{PACKAGE}.inverted_double_pendulum_v4:InvertedDoublePendulumEnv", {}),
    "single": (f"{PACKAGE}.inverted_pendulum_v4:InvertedPendulumEnv", {}),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_other_numbers_are_taken_over(name, register):
    entry_point, numbers = NUMBERS[name]
    check_same(
        register(f"{name}-v0", entry_point, kwargs=numbers),
        {"humanoid": 1e-3, "cheetah": 1e-4, "walker": 2e-5}.get(name, 1e-5),
    )


def test_version_4_is_our_own_task():
    ours, theirs = MUJOCO["hopper"], registered.record("gymnasium:Hopper-v4")
    same = ("frame_skip", "effort", "readings", "horizon", "mjx_iterations", "mjx_ls_iterations")
    assert [getattr(ours, field) for field in same] == [getattr(theirs, field) for field in same]
    assert theirs.xml == model.find(ours.xml)
    assert theirs.published_eps is None


def one_number_off(body, count=2000):
    """Motions at rest but for one number, of any size, so that every limit of a task is met by itself."""
    rng, data = np.random.default_rng(0), mujoco.MjData(body)
    states = np.tile(np.concatenate([body.qpos0, np.zeros(body.nv)]), (count, 1))
    place = rng.integers(0, states.shape[1], count)
    states[np.arange(count), place] = rng.choice([-1, 1], count) * 10 ** rng.uniform(-2, 2.5, count)
    names = ("xpos", "cfrc_ext", "cinert", "cvel", "qfrc_actuator", "subtree_com")
    shapes = {name: getattr(data, name).shape for name in names}
    readings = {name: np.float32(rng.normal(0, 3, (count, *shape))) for name, shape in shapes.items()}
    qpos, qvel = np.split(states.astype(np.float32), [body.nq], axis=1)
    return Motion(qpos, qvel, readings=readings)


@pytest.mark.parametrize(
    "task", ["hopper", "walker2d", "halfcheetah", "ant", "humanoid", "inverted_pendulum"]
)
def test_the_numbers_of_our_own_tasks_are_those_of_version_4(task):
    """What is observed, earned and the end of an episode, at states that random actions seldom meet."""
    ours, theirs = MUJOCO[task], registered.record(f"gymnasium:{GYMNASIUM[task]}")
    assert set(theirs.readings) == set(ours.readings)
    motions = one_number_off(model.load(ours.xml))
    before = jax.tree.map(lambda leaf: leaf[::-1], motions)

    def of(known):
        def one(before, after):
            return known.observe(after), known.reward(before, after, jnp.zeros(1)), known.terminate(after)

        return jax.jit(jax.vmap(one))(before, motions)

    mine = of(ours)
    for found, wanted in zip(mine, of(theirs), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert task == "halfcheetah" or {*np.asarray(mine[2]).tolist()} == {True, False}


def test_a_file_of_ones_own_is_the_body(register, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "heavy.xml"
    own.write_text(model.find("hopper.xml").read_text().replace('size="0.05', 'size="0.08'))
    name = register("Heavy-v0", f"{PACKAGE}.hopper_v5:HopperEnv", kwargs={"xml_file": "./heavy.xml"})
    check_same(name, count=60)
    task = registered.record(name)
    assert (task.xml, task.mjx_iterations, task.horizon) == (own, None, 70)
    heavy, light = model.load(own), model.load("hopper.xml")
    assert heavy.body_mass.sum() > 1.2 * light.body_mass.sum()


def test_reset_noise_is_theirs(register):
    name = register(
        "Noisy-v0", f"{PACKAGE}.half_cheetah_v5:HalfCheetahEnv", kwargs={"reset_noise_scale": 0.3}
    )
    motion = jax.vmap(envs.make(name).reset)(jax.random.split(jax.random.key(0), 300)).physics
    assert 0.29 < np.abs(motion.qpos).max() <= 0.3
    np.testing.assert_allclose(motion.qvel.std(), 0.3, rtol=0.1)


# --- the command line's names ---------------------------------------------------------------------------


def test_a_sweep_is_asked_for_by_that_name_and_made_once():
    name = "gymnasium:InvertedPendulum-v5"
    assert SweepSpec.from_dict(SweepSpec(env=name).to_dict()).env == name
    assert envs.make(name) is envs.make(name)
    assert envs.make(name).task == name
    assert [budget.eps for budget in SweepSpec(env="gymnasium:Hopper-v4", charge="raw").budgets] == [0.1]


def test_a_module_registers_what_it_is_named_for(register, monkeypatch):
    monkeypatch.setitem(sys.modules, "their_package", ModuleType("their_package"))
    register("Theirs-v0", f"{PACKAGE}.hopper_v5:HopperEnv")
    assert envs.make("gymnasium:their_package:Theirs-v0", horizon=3).observation_size == 11


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Hoper-v5", r"env: unknown name 'gymnasium:Hoper-v5'; did you mean 'gymnasium:Hopper-v5'\?"),
        ("Hopper", r"did you mean 'gymnasium:Hopper-v5'\?"),
        ("nowhere:Hopper-v5", "env: gymnasium:nowhere:Hopper-v5: 'nowhere' cannot be imported"),
        ("Pusher-v5", r"is a gymnasium.envs.mujoco.pusher_v5.PusherEnv, whose .* Known: .*gymnasium:Ant-v5"),
        ("Hopper-v3", "env: Gymnasium cannot make gymnasium:Hopper-v3 .ImportError"),
    ],
)
def test_another_name_is_refused_in_one_line(name, message):
    with pytest.raises(SpecError, match=message) as told:
        SweepSpec(env=f"gymnasium:{name}")
    assert "\n" not in str(told.value)


class Numbered(HopperEnv):
    """Other numbers and no other behaviour."""

    def __init__(self, **options):
        super().__init__(healthy_z_range=(0.8, 1.5), **options)
        self.unused = 3


class Rewarded(HopperEnv):
    def _get_rew(self, x_velocity, action):
        return 0.0, {}


class Shadowed(HalfCheetahEnv):
    def __init__(self, **options):
        super().__init__(**options)
        self.control_cost = lambda action: 0.0


class Iced(AntEnv):
    def __init__(self, **options):
        super().__init__(**options)
        self.model.geom_friction[:] *= 0.5
        self.model.opt.gravity[:] = 0.0


def test_a_class_of_ones_own_may_set_numbers(register):
    steps = check_same(register("Numbered-v0", Numbered), count=60)
    assert steps.terminated.any()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Rewarded, {}, "is a HopperEnv of gymnasium.envs.mujoco.hopper_v5 with its own _get_rew, which"),
        (Shadowed, {}, "is a HalfCheetahEnv of .* with its own control_cost, which"),
        (Iced, {}, "has another geom_friction, opt.gravity than its file .*ant.xml says"),
        (HopperEnv, {"max_episode_steps": None}, "is registered without max_episode_steps"),
        (HopperEnv, {"kwargs": {"xml_file": "/nowhere.xml"}}, "cannot make .* .OSError: File /nowhere.xml"),
        (HopperEnv, {"kwargs": {"weight": 1}}, "cannot make .* .TypeError: .*'weight'"),
    ],
)
def test_what_is_not_known_is_named(kind, options, message, register):
    name = register("Other-v0", kind, **options)
    with pytest.raises(SpecError, match=message) as told:
        envs.named(name)
    assert "\n" not in str(told.value)


def test_wrappers_are_refused(register):
    wrapper = gymnasium.envs.registration.WrapperSpec("Halved", "somewhere:Halved", {})
    name = register("Wrapped-v0", HopperEnv, additional_wrappers=(wrapper,))
    with pytest.raises(SpecError, match=r"registered with wrappers, which are not known here .Halved"):
        envs.named(name)
