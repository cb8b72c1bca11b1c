"""Shifted dynamics: MuJoCo's own loop over a changed model, one body per episode, and what is refused."""

import copy
import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from jaxprune.envs import PARAMETERS, Shift, draw_shift, make, randomised, step_or_reset
from jaxprune.envs.catalogue import MUJOCO
from jaxprune.envs.mujoco import native
from jaxprune.envs.mujoco.constants import inverse_weights
from jaxprune.envs.mujoco.model import load
from jaxprune.errors import SpecError

STEPS = 12

JOINT = Shift(mass=1.4, friction=0.5, gravity=0.85, damping=2.0, gear=0.7)
SHIFTS = {
    "mass": Shift(mass=1.4),
    "friction": Shift(friction=0.5),
    "gravity": Shift(gravity=0.7),
    "damping": Shift(damping=2.0),
    "gear": Shift(gear=0.5),
    "all": JOINT,
}


def changed(xml: str, shift: Shift) -> mujoco.MjModel:
    """The body with the shift, written out anew, as someone who knows MuJoCo would."""
    # float32 factors, as JAX hands them over
    factor = {name: float(np.float32(getattr(shift, name))) for name in PARAMETERS}
    body = load(xml)
    body.body_mass *= factor["mass"]
    body.body_inertia *= factor["mass"]
    body.geom_friction *= factor["friction"]
    body.opt.gravity *= factor["gravity"]
    body.dof_damping *= factor["damping"]
    body.actuator_gear *= factor["gear"]
    mujoco.mj_setConst(body, mujoco.MjData(body))
    return body


def actions(env, shape, seed=0):
    space = env.action_space
    return jax.random.uniform(jax.random.key(seed), (*shape, space.size), minval=space.low, maxval=space.high)


def stacked(shifts):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(shift.broadcast_to() for shift in shifts))


@pytest.mark.parametrize("parameter", SHIFTS)
@pytest.mark.parametrize("task", ["hopper", "halfcheetah", "ant-contact", "humanoid"])
def test_native_is_the_loop_of_mj_step_over_a_changed_model(task, parameter):
    """Bit for bit, at every step, readings and contact forces included."""
    known, env, shift = MUJOCO[task], make(task, "native"), SHIFTS[parameter]
    body = changed(known.xml, shift)
    state = env.reset_under(jax.random.key(0), shift)
    step = jax.jit(env.step)
    for action in actions(env, (STEPS,)):
        data = mujoco.MjData(body)
        data.qpos[:], data.qvel[:], data.ctrl[:] = state.physics.qpos, state.physics.qvel, action
        mujoco.mj_step(body, data, nstep=known.frame_skip)
        if "cfrc_ext" in known.readings:
            mujoco.mj_rnePostConstraint(body, data)
        state, transition = step(state, action)
        np.testing.assert_array_equal(state.physics.qpos, data.qpos.astype(np.float32))
        np.testing.assert_array_equal(state.physics.qvel, data.qvel.astype(np.float32))
        for name, reading in state.physics.readings.items():
            np.testing.assert_array_equal(reading, getattr(data, name).astype(np.float32), err_msg=name)
        if transition.terminated:
            break
    assert state.time >= 4


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_every_parameter_moves_the_hopper_elsewhere(parameter):
    """Friction too: MuJoCo takes the larger of two geoms', so the floor alone would change nothing."""
    env, step = make("hopper", "native"), jax.jit(make("hopper", "native").step)
    ends = []
    for factor in (1.0, 0.3):
        state = env.reset_under(jax.random.key(0), Shift(**{parameter: factor}))
        for action in actions(env, (30,)):
            state, _ = step(state, action)
        ends.append(np.asarray(state.physics.qpos))
    # the hopper's joints have a damping of their own, its root has none
    assert np.abs(ends[0] - ends[1]).max() > 1e-3


def test_friction_of_the_floor_alone_changes_nothing():
    env, known = make("hopper", "native"), MUJOCO["hopper"]
    bodies = [load(known.xml), load(known.xml), load(known.xml)]
    bodies[1].geom_friction[0] *= 0.3
    bodies[2].geom_friction *= 0.3
    start = env.reset(jax.random.key(0)).physics
    ends = []
    for body in bodies:
        data = mujoco.MjData(body)
        data.qpos[:], data.qvel[:] = start.qpos, start.qvel
        for action in actions(env, (30,)):
            data.ctrl[:] = action
            mujoco.mj_step(body, data, nstep=known.frame_skip)
        ends.append(data.qpos.copy())
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 1e-3


@pytest.mark.parametrize("task", ["hopper", "halfcheetah", "humanoid"])
def test_factors_of_one_are_the_tasks_own_body(task):
    env = make(task, "native")
    step = jax.jit(env.step)
    plain, shifted = env.reset(jax.random.key(0)), env.reset_under(jax.random.key(0), Shift())
    for action in actions(env, (STEPS,)):
        (plain, one), (shifted, other) = step(plain, action), step(shifted, action)
        jax.tree.map(np.testing.assert_array_equal, one, other)
    np.testing.assert_array_equal(plain.physics.qpos, shifted.physics.qpos)


def test_without_shifts_no_field_is_expanded(monkeypatch):
    made = []
    monkeypatch.setattr(native._ShiftedBodies, "__init__", lambda self, batch: made.append(batch))
    env = replace(make("hopper", "native"))
    states = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 7))
    assert states.physics.shift is None
    jax.block_until_ready(jax.jit(jax.vmap(env.step))(states, actions(env, (7,))))
    assert not made


@pytest.mark.parametrize("task", ["hopper", "humanoid"])
def test_every_episode_of_a_batch_has_its_own_body(task):
    """[2, 3] shifts side by side; then the same engine meets them the other way round."""
    env, given = make(task, "native"), [*SHIFTS.values()]
    keys = jax.random.split(jax.random.key(1), 6)
    step, together = jax.jit(env.step), jax.jit(jax.vmap(jax.vmap(env.step)))
    for order in (given, given[::-1]):
        begun = jax.vmap(env.reset_under)(keys, stacked(order))
        batch = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), begun)
        solo = [env.reset_under(key, shift) for key, shift in zip(keys, order, strict=True)]
        for action in actions(env, (4, 6)):
            batch, _ = together(batch, action.reshape(2, 3, -1))
            solo = [step(state, act)[0] for state, act in zip(solo, action, strict=True)]
        for place, state in enumerate(solo):
            of_batch = jax.tree.map(lambda x, place=place: x[place // 3, place % 3], batch)
            np.testing.assert_array_equal(of_batch.physics.qpos, state.physics.qpos)
            np.testing.assert_array_equal(of_batch.physics.qvel, state.physics.qvel)
            assert of_batch.physics.shift == order[place]


def test_skipped_episodes_leave_every_body_where_it_belongs():
    """As episodes end, the others move up to other simulations, whose bodies must follow them."""
    env, count = make("halfcheetah", "native"), 8
    shifts = Shift(mass=jnp.linspace(0.5, 2.0, count), gear=jnp.linspace(2.0, 0.5, count)).broadcast_to(count)
    begun = jax.vmap(env.reset_under)(jax.random.split(jax.random.key(0), count), shifts)
    step, acts = jax.jit(jax.vmap(env.step)), actions(env, (count,))
    everyone, _ = step(begun, acts)
    for ended in ([0], [0, 1, 2, 5], [7, 3], [0, 1, 2, 3, 4, 5, 6]):
        over = np.isin(np.arange(count), ended)
        found, _ = step(begun.replace(ended=jnp.asarray(over)), acts)
        np.testing.assert_array_equal(found.physics.qpos[~over], everyone.physics.qpos[~over])


@pytest.mark.parametrize("task", MUJOCO)
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_mjxs_constants_are_those_of_mj_setconst(task, factor):
    body = load(MUJOCO[task].xml)
    found = jax.jit(inverse_weights(body))(factor)
    heavier = copy.copy(body)
    heavier.body_mass *= factor
    heavier.body_inertia *= factor
    mujoco.mj_setConst(heavier, mujoco.MjData(heavier))
    for name, constant in found.items():
        np.testing.assert_allclose(constant, getattr(heavier, name), rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    "task",
    [
        "inverted_pendulum",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("halfcheetah", "hopper")),
    ],
)
@pytest.mark.parametrize("physics", ["mjx", "mjx-warp"])
def test_mjx_steps_as_native_does(task, physics):
    """Every shift in one batch, one step from each of the states that native passes: velocities to within
    5e-4 (1 + |v|), which is less than a tenth of what each shift changes in some step.
    """
    if physics == "mjx-warp":
        pytest.importorskip("warp")
    native_env, mjx_env = make(task, "native"), make(task, physics)
    on_native, on_mjx = (jax.jit(jax.vmap(env.step)) for env in (native_env, mjx_env))
    states = jax.vmap(native_env.reset_under)(
        jax.random.split(jax.random.key(0), len(SHIFTS)), stacked(SHIFTS.values())
    )
    own = Shift().broadcast_to(len(SHIFTS))
    effect = np.zeros(len(SHIFTS))
    for action in actions(native_env, (30, len(SHIFTS))):
        found, _ = on_mjx(states, action)
        plain, _ = on_native(states.replace(physics=states.physics.replace(shift=own)), action)
        states, _ = on_native(states, action)
        for name in ("qpos", "qvel"):
            wanted = np.asarray(getattr(states.physics, name))
            np.testing.assert_allclose(getattr(found.physics, name), wanted, rtol=5e-4, atol=5e-4)
        change = np.abs(plain.physics.qvel - wanted) / (1 + np.abs(wanted))
        effect = np.maximum(effect, change.max(axis=1))
    moved = [name for name, size in zip(SHIFTS, effect, strict=True) if size > 5e-3]
    touches_nothing = ["friction"] if task == "inverted_pendulum" else []
    assert moved == [name for name in SHIFTS if name not in touches_nothing]


def test_mjx_without_shifts_has_no_shift():
    env = make("inverted_pendulum", "mjx")
    state = env.reset(jax.random.key(0))
    assert state.physics.shift is None
    stepped = jax.eval_shape(env.step, state, jnp.zeros(1))[0]
    assert stepped.physics.shift is None


# --- episodes of chance ----------------------------------------------------------------------------------

LOW, HIGH = Shift(mass=0.5, friction=0.25, gear=0.7), Shift(mass=2.0, friction=4.0, gear=0.7)


@pytest.mark.parametrize("task", ["hopper", "humanoid"])
def test_a_randomised_reset_starts_where_the_plain_one_does(task):
    env = make(task, "native")
    keys = jax.random.split(jax.random.key(0), 5)
    plain, shifted = (jax.vmap(e.reset)(keys) for e in (env, randomised(env, LOW, HIGH)))
    np.testing.assert_array_equal(plain.physics.qpos, shifted.physics.qpos)
    np.testing.assert_array_equal(plain.physics.qvel, shifted.physics.qvel)
    assert len(set(shifted.physics.shift.mass.tolist())) == 5


def test_draws_are_log_uniform_and_independent():
    drawn = jax.vmap(partial(draw_shift, low=LOW, high=HIGH))(jax.random.split(jax.random.key(3), 4000))
    assert (drawn.gravity == 1).all() and (drawn.damping == 1).all()
    assert (drawn.gear == np.float32(0.7)).all()
    logs = []
    for name, low, high in (("mass", 0.5, 2.0), ("friction", 0.25, 4.0)):
        factors = np.asarray(getattr(drawn, name))
        assert low <= factors.min() < low * 1.01 and high * 0.99 < factors.max() <= high
        share = (np.log(factors) - math.log(low)) / (math.log(high) - math.log(low))
        counts = np.histogram(share, bins=10, range=(0, 1))[0]
        assert np.abs(counts - 400).max() < 5 * math.sqrt(400)
        logs.append(share)
    assert abs(np.corrcoef(logs)[0, 1]) < 0.08


def test_a_randomised_environment_draws_anew_at_every_reset():
    env = randomised(make("hopper", "native", horizon=2), LOW, HIGH)
    state = env.reset(jax.random.key(0))
    step, masses = jax.jit(partial(step_or_reset, env)), []
    for time in range(6):
        masses.append(float(state.physics.shift.mass))
        state, _ = step(state, jnp.zeros(3), jax.random.key(time))
    assert masses[0] == masses[1] and masses[2] == masses[3] and len(set(masses)) == 3


def test_a_randomised_environment_is_made_once():
    env = make("hopper", "native")
    assert randomised(env, LOW, HIGH) is randomised(env, LOW, HIGH)
    assert randomised(env, LOW, HIGH) is not randomised(env, LOW, Shift(mass=3.0, friction=4.0, gear=0.7))


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "physics"), [("probe/linear", "none"), ("brax/hopper", "brax-spring")])
def test_tasks_without_a_body_of_mujocos_refuse(task, physics):
    env = make(task, physics)
    for refused in (
        lambda: env.reset_under(jax.random.key(0), Shift(mass=2.0)),
        lambda: randomised(env, LOW, HIGH),
    ):
        with pytest.raises(SpecError, match=f"shift: {task} on {physics} has no body") as error:
            refused()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (Shift(mass=0.0), "mass: a factor of 0; it must be finite and above 0"),
        (Shift(mass=-1.0), "mass: a factor of -1;"),
        (Shift(mass=1e-60), "mass: a factor of 1e-60;"),
        (Shift(mass=1e60), "mass: a factor of 1e"),
        (Shift(friction=-0.1), "friction: a factor of -0.1; it must be finite and at least 0"),
        (Shift(damping=-2.0), "damping: a factor of -2;"),
        (Shift(gravity=math.nan), "gravity: a factor of nan; it must be finite"),
        (Shift(gear=math.inf), "gear: a factor of inf; it must be finite"),
        (Shift(mass=jnp.array([1.0, -3.0, 0.0])), "mass: a factor of -3;"),
    ],
)
def test_what_leaves_no_physics_is_refused(shift, said):
    with pytest.raises(SpecError, match=said):
        make("hopper", "native").reset_under(jax.random.key(0), shift)


@pytest.mark.parametrize("shift", [Shift(friction=0.0, damping=0.0), Shift(gravity=0.0), Shift(gear=-1.0)])
def test_what_is_strange_but_physics_is_taken(shift):
    env = make("hopper", "native")
    state, transition = env.step(env.reset_under(jax.random.key(0), shift), jnp.ones(3))
    assert not transition.failed and np.isfinite(state.observation).all()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (Shift(mass=0.0), Shift(), "mass: cannot draw between 0 and 1"),
        (Shift(gear=2.0), Shift(), "gear: cannot draw between 2 and 1"),
        (Shift(), Shift(gravity=math.inf), "gravity: cannot draw between 1 and inf"),
        (Shift(damping=math.nan), Shift(), "damping: cannot draw between nan and 1"),
        (Shift(mass=1e-60), Shift(), "mass: cannot draw between 0 and 1"),
    ],
)
def test_a_range_that_cannot_be_drawn_from_is_refused(low, high, said):
    with pytest.raises(SpecError, match=said):
        randomised(make("hopper", "native"), low, high)


def test_a_traced_shift_that_is_no_number_fails_its_episode_alone(capfd):
    env = make("hopper", "native")
    keys = jax.random.split(jax.random.key(0), 3)
    shifts = Shift(mass=jnp.array([1.0, jnp.nan, 2.0])).broadcast_to(3)
    begun = jax.jit(jax.vmap(env.reset_under))(keys, shifts)
    stepped, transition = jax.jit(jax.vmap(env.step))(begun, jnp.zeros((3, 3)))
    assert transition.failed.tolist() == [False, True, False]
    assert np.isfinite(stepped.observation).all() and capfd.readouterr().err == ""
