"""Environments under `native`: starts, ends, failures, batches, purity."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from jaxprune.envs import make, step_or_reset
from jaxprune.envs.catalogue import MUJOCO
from jaxprune.envs.mujoco import native
from jaxprune.envs.mujoco.model import load, silent

# a task that `native` steps by qpos and qvel alone, one with readings, one with contact forces
KINDS = ("hopper", "ant", "humanoid")


def starts(env, count, seed=0):
    return jax.vmap(env.reset)(jax.random.split(jax.random.key(seed), count))


def actions(env, shape, seed=0):
    space = env.action_space
    return jax.random.uniform(jax.random.key(seed), (*shape, space.size), minval=space.low, maxval=space.high)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def assert_close(left, right):
    """Equal but for what the compiler makes of sums: the physics itself is exact."""
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), left, right)


@pytest.mark.parametrize("task", MUJOCO)
def test_start_noise_has_gymnasiums_distribution(task):
    motion = starts(make(task, "native"), 500).physics
    noise = {
        "hopper": (("uniform", 5e-3), ("uniform", 5e-3)),
        "walker2d": (("uniform", 5e-3), ("uniform", 5e-3)),
        "halfcheetah": (("uniform", 0.1), ("normal", 0.1)),
        "ant": (("uniform", 0.1), ("normal", 0.1)),
        "ant-contact": (("uniform", 0.1), ("normal", 0.1)),
        "humanoid": (("uniform", 1e-2), ("uniform", 1e-2)),
        "inverted_pendulum": (("uniform", 0.01), ("uniform", 0.01)),
        "inverted_double_pendulum": (("uniform", 0.1), ("normal", 0.1)),
    }[task]
    offsets = (motion.qpos - load(MUJOCO[task].xml).qpos0.astype(np.float32), motion.qvel)
    for (kind, scale), offset in zip(noise, offsets, strict=True):
        std = scale / np.sqrt(3) if kind == "uniform" else scale
        np.testing.assert_allclose(offset.mean(axis=0), 0.0, atol=5 * std / np.sqrt(500))
        np.testing.assert_allclose(offset.std(axis=0), std, rtol=0.15)
        if kind == "uniform":
            assert scale * 0.97 < jnp.abs(offset).max() <= scale * 1.001
    correlation = np.corrcoef(np.concatenate(offsets, axis=1).T) - np.eye(sum(o.shape[1] for o in offsets))
    assert np.abs(correlation).max() < 0.25


def test_resets_are_fresh_and_keyed():
    env = make("hopper", "native")
    one, other = env.reset(jax.random.key(0)), env.reset(jax.random.key(1))
    assert_equal(one, env.reset(jax.random.key(0)))
    assert not np.array_equal(one.observation, other.observation)
    assert one.time == 0


def test_the_horizon_truncates_and_the_final_observation_is_the_true_one():
    env = make("halfcheetah", "native", horizon=3)
    state = env.reset(jax.random.key(0))
    step = jax.jit(partial(step_or_reset, env))
    for time in range(1, 4):
        action = actions(env, (), seed=time)
        plain, _ = env.step(state, action)
        state, transition = step(state, action, jax.random.key(time))
        assert transition.truncated == (time == 3)
        assert not transition.terminated
        np.testing.assert_array_equal(transition.observation, plain.observation)
    assert_close(state, env.reset(jax.random.key(3)))


def test_a_fall_terminates_and_is_no_truncation():
    env = make("hopper", "native", horizon=1)
    state = env.reset(jax.random.key(0))
    lying = state.physics.replace(qpos=state.physics.qpos.at[1].set(0.5))
    _, transition = env.step(state.replace(physics=lying), jnp.zeros(3))
    assert transition.terminated and not transition.truncated and not transition.failed


def test_actions_are_clipped_before_they_cost():
    env = make("halfcheetah", "native")
    state = env.reset(jax.random.key(0))
    assert_equal(env.step(state, jnp.full(6, 7.0)), env.step(state, jnp.ones(6)))


def test_raw_actions_cost_what_they_are_and_move_no_more():
    env, raw = make("halfcheetah", "native"), make("halfcheetah", "native", charge="raw")
    state = env.reset(jax.random.key(0))
    (clipped_state, clipped), (raw_state, beyond) = (e.step(state, jnp.full(6, 2.0)) for e in (env, raw))
    assert_equal(clipped_state, raw_state)
    np.testing.assert_allclose(clipped.reward - beyond.reward, 0.1 * 6 * (2.0**2 - 1.0**2), rtol=1e-5)
    assert_equal(env.step(state, jnp.full(6, 0.7)), raw.step(state, jnp.full(6, 0.7)))


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize("fault", ["nan velocity", "huge velocity", "infinite position", "nan action"])
def test_a_failure_ends_one_episode_and_touches_no_other(task, fault, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    env = make(task, "native")
    states, acts = starts(env, 4), actions(env, (4,))
    step = jax.jit(jax.vmap(env.step))
    expected = jax.device_get(step(states, acts))
    motion = states.physics
    if fault == "nan velocity":
        motion = motion.replace(qvel=motion.qvel.at[2, 0].set(jnp.nan))
    elif fault == "huge velocity":
        motion = motion.replace(qvel=motion.qvel.at[2].set(1e9))
    elif fault == "infinite position":
        motion = motion.replace(qpos=motion.qpos.at[2, 1].set(jnp.inf))
    else:
        acts = acts.at[2, 0].set(jnp.nan)
    stepped, transition = jax.device_get(step(states.replace(physics=motion), acts))

    assert transition.failed.tolist() == [False, False, True, False]
    assert transition.terminated[2] and not transition.truncated[2]
    assert transition.reward[2] == 0.0
    np.testing.assert_array_equal(transition.observation[2], states.observation[2])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(transition))
    others = np.array([0, 1, 3])
    assert_equal(*(jax.tree.map(lambda x: x[others], both) for both in ((stepped, transition), expected)))
    assert not list(Path.cwd().iterdir()), "MuJoCo left a log file"
    assert capfd.readouterr().err == ""


def test_a_failed_episode_goes_on_from_a_fresh_reset():
    env = make("hopper", "native")
    state, transition = step_or_reset(
        env, env.reset(jax.random.key(0)), jnp.full(3, jnp.nan), jax.random.key(1)
    )
    assert transition.failed
    assert_equal(state, env.reset(jax.random.key(1)))


@pytest.mark.parametrize("task", KINDS)
def test_batches_equal_solo_runs(task):
    env = make(task, "native")
    states, acts = starts(env, 6), actions(env, (6,))
    grid = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), (states, acts))
    stepped = jax.jit(jax.vmap(jax.vmap(env.step)))(*grid)
    step = jax.jit(env.step)
    for index in range(6):
        solo = step(*jax.tree.map(lambda x, index=index: x[index], (states, acts)))
        assert_close(solo, jax.tree.map(lambda x, index=index: x[index // 3, index % 3], stepped))


@pytest.mark.parametrize("task", KINDS)
def test_the_past_of_the_engine_leaves_no_trace(task):
    env = make(task, "native")
    states, acts = starts(env, 3), actions(env, (3,))
    step = jax.jit(jax.vmap(env.step))
    once = step(states, acts)
    step(starts(env, 3, seed=1), -acts)
    assert_equal(once, step(states, acts))


def test_physics_is_the_loop_of_mj_step():
    task = MUJOCO["hopper"]
    env, body = make("hopper", "native"), load(task.xml)
    state, action = env.reset(jax.random.key(0)), actions(make("hopper", "native"), ())
    data = mujoco.MjData(body)
    data.qpos[:], data.qvel[:], data.ctrl[:] = state.physics.qpos, state.physics.qvel, action
    mujoco.mj_step(body, data, nstep=task.frame_skip)
    stepped, _ = env.step(state, action)
    np.testing.assert_array_equal(stepped.physics.qpos, data.qpos.astype(np.float32))
    np.testing.assert_array_equal(stepped.physics.qvel, data.qvel.astype(np.float32))


@pytest.mark.parametrize(("task", "calls"), [("hopper", 1), ("humanoid", 2)])
def test_one_call_per_step_whatever_the_batch(task, calls, monkeypatch):
    """The humanoid's second call is the reset's, which has readings to compute."""
    count = 0
    run = native._Simulations.run

    def counted(self, *arguments):
        nonlocal count
        count += 1
        return run(self, *arguments)

    monkeypatch.setattr(native._Simulations, "run", counted)
    env = make(task, "native")
    states = jax.vmap(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), (3, 4)))
    keys = jax.random.split(jax.random.key(1), (3, 4))
    step = jax.jit(jax.vmap(jax.vmap(partial(step_or_reset, env))))
    jax.block_until_ready(states)
    count = 0
    jax.block_until_ready(step(states, actions(env, (3, 4)), keys))
    assert count == calls


def test_halfcheetah_has_gymnasiums_mass_without_its_warning(capfd):
    body = load("half_cheetah.xml")
    assert capfd.readouterr().err == ""
    assert np.isclose(body.body_mass.sum(), 14.0)


# --- calls of several threads ---------------------------------------------------------------------------


def test_calls_of_two_threads_meet_and_neither_disturbs_the_other(monkeypatch):
    """Each waits inside for the other to be there too, as it could not if one had to end first."""
    env, run, both = make("hopper", "native"), native._Simulations.run, Barrier(2, timeout=60)
    step = jax.jit(jax.vmap(env.step))
    given = [(starts(env, 6, seed), actions(env, (6,), seed)) for seed in (0, 1)]
    alone = [jax.device_get(step(*each)) for each in given]

    def together(self, *arguments):
        both.wait()
        fields = run(self, *arguments)
        both.wait()  # what was read must still be there when the other has stepped
        return fields

    monkeypatch.setattr(native._Simulations, "run", together)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda each: jax.device_get(step(*each)), given))
    for of_one, expected in zip(found, alone, strict=True):
        assert_equal(of_one, expected)


def test_simulations_are_lent_to_one_at_a_time_and_few_are_kept():
    made = []

    def make_them(size, shifted):
        made.append((size, shifted))
        return len(made)

    pool = native._Pool(make_them, most=2)
    with pool.lend(4, False) as first, pool.lend(4, False) as second:
        assert (first, second) == (1, 2)
    with pool.lend(4, False) as again, pool.lend(4, True) as shifted:
        assert again in (1, 2) and shifted == 3
    with pytest.raises(RuntimeError), pool.lend(5, False):
        raise RuntimeError
    with pool.lend(5, False) as anew:  # those of a call that failed are not lent again
        assert anew == 5
    assert made == [(4, False), (4, False), (4, True), (5, False), (5, False)]
    assert len(pool._kept) == 2


def test_warnings_are_silent_until_the_last_that_asked_is_done():
    heard, before = [], mujoco.get_mju_user_warning()

    def diverge():
        data = mujoco.MjData(body)
        data.qvel[:] = 1e12
        mujoco.mj_step(body, data)

    body = load("hopper.xml")
    mujoco.set_mju_user_warning(heard.append)
    try:
        first, second = silent(), silent()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        diverge()
        assert heard == []
        second.__exit__(None, None, None)
        diverge()
        assert len(heard) == 1
    finally:
        mujoco.set_mju_user_warning(before)


# --- episodes that have ended ---------------------------------------------------------------------------

PATTERNS = {
    "none": [],
    "one": [7],
    "the first": [0, 1, 2, 3, 4],
    "a whole member": [5, 6, 7, 8, 9],
    "every other": list(range(0, 15, 2)),
    "all but one": [place for place in range(15) if place != 11],
    "all": list(range(15)),
}


@pytest.mark.parametrize("task", KINDS)
def test_skipping_ended_episodes_changes_no_other_by_a_bit(task, monkeypatch):
    """[member, env] = [3, 5]: batches of 4, 8, 12 or 15 simulations are run, so that few sizes are kept."""
    sizes, run = [], native._Simulations.run

    def counted(self, *arguments):
        sizes.append(len(arguments[0]))
        return run(self, *arguments)

    monkeypatch.setattr(native._Simulations, "run", counted)
    env = make(task, "native")
    states = jax.vmap(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), (3, 5)))
    acts = actions(env, (3, 5))
    step = jax.jit(jax.vmap(jax.vmap(env.step)))
    everyone = jax.device_get(step(states, acts))
    for ended in PATTERNS.values():
        over = np.isin(np.arange(15), ended).reshape(3, 5)
        sizes.clear()
        found = jax.device_get(step(states.replace(ended=jnp.asarray(over)), acts))
        stepped, transition = found
        assert sizes == [min(15, max(4, 4 * int(np.ceil((15 - len(ended)) / 4))))]
        assert_equal(*(jax.tree.map(lambda x, o=over: x[~o], both) for both in (found, everyone)))
        assert_equal(*(jax.tree.map(lambda x, o=over: x[o], one.physics) for one in (stepped, states)))
        np.testing.assert_array_equal(stepped.observation[over], states.observation[over])
        np.testing.assert_array_equal(stepped.ended, over)
        assert not transition.failed.any()
        assert (transition.reward[over] == 0).all()


@pytest.mark.parametrize("task", ["humanoid", "ant"])
def test_contact_forces_are_read_a_piece_at_a_time_and_are_the_same(task, monkeypatch):
    """Where they are read every simulation keeps all its data: 1,024 members would fill any memory."""
    env = make(task, "native")
    states, acts = starts(env, 11), actions(env, (11,))
    whole = jax.jit(jax.vmap(env.step))(states, acts)
    sizes, run = [], native._Simulations.run

    def counted(self, *arguments):
        sizes.append(len(arguments[0]))
        return run(self, *arguments)

    monkeypatch.setattr(native._Simulations, "run", counted)
    monkeypatch.setattr(native, "PIECE", 4)
    assert_equal(whole, jax.jit(jax.vmap(env.step))(states, acts))
    assert sizes == ([4, 4, 3] if task == "humanoid" else [11])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 23])
def test_all_that_go_on_are_chosen_and_few_sizes_occur(size):
    rng, seen = np.random.default_rng(size), set()
    for count in range(size + 1):
        going = np.zeros(size, bool)
        going[rng.permutation(size)[:count]] = True
        places = np.arange(size)[native._chosen(going)]
        assert set(np.flatnonzero(going)) <= set(places)
        assert np.all(np.diff(places) > 0)
        assert len(places) < max(count, 1) + -(-size // native.PARTS)
        seen.add(len(places))
    assert len(seen) <= native.PARTS
