"""Members in chunks come out as all of them at once, bit for bit, and need the memory of a chunk."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxprune as jp
from jaxprune import SpecError, chunks, device, envs, footprint, plan
from jaxprune import sweep as sweeps
from jaxprune.certification import ReturnSpec
from tests.compiled import as_users_compile
from tests.side_by_side import played, ten_members


@given(size=st.integers(1, 40), chunk=st.integers(1, 50) | st.none())
def test_every_row_is_in_a_chunk_and_no_chunk_is_too_long(size, chunk):
    places = chunks.rows(size, chunk)
    assert places.ravel()[:size].tolist() == list(range(size))
    assert set(places.ravel()[size:]) <= {size - 1}
    assert places.shape[1] <= (chunk or size)
    assert places.size - size < len(places)


def test_a_function_is_mapped_over_all_rows_in_their_order():
    tree = {"x": jnp.arange(7.0), "y": jnp.arange(14.0).reshape(7, 2)}
    for chunk in (None, 2, 3, 6, 7, 9):
        made = chunks.mapped(lambda row: (row["x"] ** 2, row["y"].sum()), tree, 7, chunk)
        np.testing.assert_array_equal(made[0], np.arange(7.0) ** 2)
        np.testing.assert_array_equal(made[1], np.arange(14.0).reshape(7, 2).sum(1))


def test_in_chunks_members_learn_and_act_as_all_at_once():
    with as_users_compile():
        # Three chunks of four for ten members.
        (_, whole), (_, parts) = (played(ten_members("probe/linear").in_chunks(n)) for n in (None, 4))
    for a, b in zip(*map(jax.tree.leaves, (whole, parts)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_less_memory_means_fewer_members_side_by_side():
    job = sweeps.job(jp.SweepSpec(env="humanoid", seeds=64, sparsities="0:0.9:0.06", certify_episodes=2))
    needed = plan.memory(job)
    assert job.everyone.size == 1024
    fitted = plan.fitted(job, needed // 2)
    assert 2 <= fitted.chunk < 1024
    assert plan.memory(fitted) <= needed // 2
    assert plan.fitted(job, needed) is job
    assert plan.fitted(job.in_chunks(7), needed).chunk == 7
    # Where not even two of them fit it is for `estimate` to say so.
    assert plan.fitted(job, 1000).chunk == 2


@pytest.mark.parametrize("gibibytes", [16, 24, 64])
def test_humanoid_at_1024_members_plans_within_the_memory_found(gibibytes, monkeypatch):
    monkeypatch.setattr(device, "memory", lambda: gibibytes * 2**30)
    spec = jp.SweepSpec(env="humanoid", seeds=64, sparsities="0:0.9:0.06", certify_episodes=2)
    job = plan.fitted(sweeps.job(spec), device.memory())
    assert job.everyone.size == 1024
    assert plan.memory(job) <= device.memory()
    if gibibytes == 16:
        assert job.chunk is not None and 2 <= job.chunk < 1024


def test_episodes_that_are_certified_need_memory_too():
    """A million need more than an iteration: 50 steps of states, 4 bytes a number."""
    spec = jp.SweepSpec(env="hopper", seeds=4, sparsities="0,0.5", return_eps="0.01")
    few, many = (sweeps.job(replace(spec, return_episodes=count)) for count in (100, 10**6))
    stretch = few.everyone.size * 10**6 * 4 * 50 * few.env.observation_size
    assert stretch < plan.memory(many) - plan.memory(few) < 2 * stretch
    assert plan.fitted(many, plan.memory(many) - 2**30).chunk < few.everyone.size


def test_members_that_play_need_what_their_episodes_need():
    """The linear probe: a position, four numbers of noise, four observed, the time and a flag; 32 steps."""
    world, of_one = envs.make("probe/linear"), 4 + 16 + 16 + 4 + 1
    assert footprint.of_episodes(world, 3) == 2 * 3 * of_one
    assert footprint.of_visits(world, 3) == 3 * 32 * 16
    few, many = (ReturnSpec(return_episodes=60, return_eps="0.1,0.2", return_attacked=n) for n in (10, 10**6))
    stretch = 60 * 50 * 16
    assert footprint.of_returned(world, few) == 2 * 60 * of_one + stretch
    assert footprint.of_returned(world, many) == 2 * 2 * 10**6 * of_one
    assert footprint.side_by_side(10, 7, 70) is None
    assert footprint.side_by_side(10, 7, 69) == 9
    assert footprint.side_by_side(10, 7, -5) == 2


def test_a_container_has_no_more_than_it_was_granted(tmp_path, monkeypatch):
    job = tmp_path / "groups" / "slurm" / "job"
    job.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("9:cpu:/\n0::/slurm/job/step\n")
    granted = partial(device.granted, tmp_path / "cgroup", tmp_path / "groups")
    assert granted() == []
    (job / "memory.max").write_text("5000\n")
    (job.parent / "memory.max").write_text("max\n")
    (tmp_path / "groups" / "memory.max").write_text("9000\n")
    assert granted() == [5000, 9000]
    assert partial(device.granted, tmp_path / "none", tmp_path)() == []
    monkeypatch.setattr(device, "granted", lambda: [])
    installed = device.memory()
    monkeypatch.setattr(device, "granted", lambda: [installed // 2])
    # A twentieth is left to whatever else there is.
    assert device.memory() == pytest.approx(0.95 * (installed // 2), abs=1)


def test_a_chunk_of_one_is_refused():
    with pytest.raises(SpecError, match="chunk: 1 must be at least 2"):
        ten_members("probe/linear").in_chunks(1)
