"""Where the time of a job goes: phases by a clock that the test moves, and what JAX says of compiling."""

import json
import time

import jax
import jax.numpy as jnp
import pytest

import jaxprune as jp
from jaxprune import phases
from jaxprune.phases import Phase, Phases
from jaxprune.progress import Meter
from jaxprune.run_folder import RunFolder


def test_time_and_steps_belong_to_the_phase_that_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([(0.0, 0.0, 0.0), (1.0, 2.0, 0.5), (4.0, 3.0, 0.5), (9.0, 8.0, 1.5), (9.5, 8.0, 1.5)])
    monkeypatch.setattr(phases, "_clocks", lambda: next(moments))
    clock = Phases()
    clock.begin("training")  # what was before it belongs to none
    clock.count(7)
    clock.begin("visits")
    clock.begin("training")
    clock.count(2)
    assert clock.so_far() == [Phase("training", 3.5, 1.0, 0.0, 9), Phase("visits", 5.0, 5.0, 1.0, 0)]


def test_compiling_counts_once_though_what_a_program_calls_is_traced_within_it() -> None:
    inner = jax.jit(lambda x: jnp.sin(x) * 3)
    began, (*_, before) = time.monotonic(), phases._clocks()
    jax.jit(lambda x: inner(inner(x)) + 2)(jnp.ones(3))
    compiling, took = phases._clocks()[2] - before, time.monotonic() - began
    assert 0 < compiling <= took


def test_the_phases_of_a_run_that_went_on_are_those_of_all_its_pieces(tmp_path) -> None:
    folder = RunFolder.create(tmp_path / "run", jp.SweepSpec(env="probe/linear"), "none")
    folder.add_phases([Phase("training", 1.0, 2.0, 0.5, 10)])
    folder.add_phases([Phase("training", 1.0, 1.0, 0.0, 5), Phase("evaluation", 2.0, 2.0, 1.0, 3)])
    assert json.loads((folder.path / "phases.json").read_text()) == [
        {"name": "training", "seconds": 2.0, "processor": 3.0, "compiling": 0.5, "steps": 15},
        {"name": "evaluation", "seconds": 2.0, "processor": 2.0, "compiling": 1.0, "steps": 3},
    ]


def test_a_job_that_is_stopped_says_where_its_time_went() -> None:
    said = []
    with pytest.raises(RuntimeError), Meter(ended=said.append) as meter:
        meter.begin("training")
        meter.add(4)
        meter.begin("shifts 1 to 2 of 4", part_of="shifts")
        meter.add(1)
        meter.begin("shifts 3 to 4 of 4", part_of="shifts")
        meter.add(1)
        raise RuntimeError
    assert [(phase.name, phase.steps) for phase in said[0]] == [("training", 4), ("shifts", 2)]


def test_damaged_times_are_begun_anew_and_cost_no_run(tmp_path):
    folder = RunFolder.create(tmp_path / "run", jp.SweepSpec(), "native")
    (folder.path / "phases.json").write_text("{")
    with pytest.warns(UserWarning, match="phases.json is damaged and begun anew"):
        folder.add_phases([Phase("training", 1.0)])
    assert [phase["name"] for phase in json.loads((folder.path / "phases.json").read_text())] == ["training"]


def test_a_damaged_table_is_named(tmp_path):
    folder = RunFolder.create(tmp_path / "run", jp.SweepSpec(), "native")
    (folder.path / "results.parquet").write_bytes(b"PAR1")
    with pytest.raises(jp.SpecError, match=r"results\.parquet is damaged"):
        folder.table("results")
