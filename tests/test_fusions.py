"""Fusions that read unwritten memory: when they are off, when the library warns, and that it helps."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jaxprune import fusions
from jaxprune.fusions import FLAG, UnsafeFusionsWarning

# How far linear policies move in a ball of radius 0: not at all. Two sets of weights, three of units.
CANARY = """
import jax, jax.numpy as jnp, numpy as np

def shifts(weights, log_units):
    scaled = jnp.abs(weights) / jnp.exp(log_units)[:, None]
    radius = jnp.zeros_like(states)

    def at(pair):
        state, radius = pair
        return jnp.sqrt(jnp.sum((scaled @ radius) ** 2) + 1e-30), jnp.max(scaled @ state)

    return jax.lax.map(jax.vmap(at), (states, radius), batch_size=50)[0]

states = np.full((1000, 5, 7), 2, np.float32)
weights, log_units = np.full((2, 5, 7), -1, np.float32), np.zeros((3, 5), np.float32)
shifts = jax.jit(jax.vmap(jax.vmap(shifts, (None, 0)), (0, None)))(weights, log_units)
print(np.sum(~(np.asarray(shifts) < 1e-10)), "of", shifts.size, "shifts are wrong")
"""
RIGHT = "0 of 30000 shifts are wrong"

AS_AFFECTED = """
import importlib.metadata, os
real = importlib.metadata.version
importlib.metadata.version = lambda name: "0.10.2" if name == "jaxlib" else real(name)
"""
NO_DEVICE = """
from jax._src import xla_bridge
print(os.environ.get("XLA_FLAGS"), xla_bridge.backends_are_initialized())
"""

poisoned = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc can fill memory with a chosen byte"
)


def python(program: str, *options: str, **variables: str | None) -> tuple[str, str]:
    """Output and complaints of a program in the environment of the tests; None removes a variable."""
    environment = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.fixture(name="fresh")
def _fresh(monkeypatch):
    """As in a process with an affected jaxlib where nothing has been set and JAX has not started."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(fusions, "version", lambda name: "0.10.2")
    monkeypatch.setattr(fusions.xla_bridge, "backends_are_initialized", lambda: False)
    monkeypatch.setattr(fusions, "jax", SimpleNamespace(config=SimpleNamespace(jax_platforms=None)))
    return monkeypatch


@poisoned
@pytest.mark.parametrize("byte", ["85", "170"])
def test_in_the_environment_of_the_tests_no_program_reads_unwritten_memory(byte):
    assert python(CANARY, MALLOC_PERTURB_=byte)[0] == RIGHT


@poisoned
def test_the_commands_are_protected_even_where_jax_was_imported_first():
    begin = "import jax, experiments\n"
    assert python(begin + CANARY, "-W", "error", MALLOC_PERTURB_="85", XLA_FLAGS=None)[0] == RIGHT


def test_importing_the_library_warns_once_and_touches_no_device():
    begin = AS_AFFECTED + "import jax, jaxprune, jaxprune.spec, jaxprune.attack_search"
    printed, complaints = python(begin + NO_DEVICE, XLA_FLAGS=None)
    assert printed == "None False"
    assert complaints.count("UnsafeFusionsWarning") == 1
    assert "jaxlib 0.10.1" in complaints and f"XLA_FLAGS={FLAG}" in complaints


def test_importing_the_commands_sets_the_flag_in_silence_and_touches_no_device():
    begin = AS_AFFECTED + "import experiments.sweep, experiments.attack, experiments.certify"
    printed, complaints = python(begin + NO_DEVICE, "-W", "error", XLA_FLAGS=None)
    assert (printed, complaints) == (f"{FLAG} False", "")


@pytest.mark.parametrize(
    ("installed", "affected"),
    [
        ("0.9.2", False),
        ("0.10.0", False),
        ("0.10.1", False),
        ("0.10.1.dev20260301", False),
        ("0.10.2", True),
        ("0.10.2rc1", True),
        ("0.10.10", True),
        ("0.12.0.1", True),
        ("1.0", True),
    ],
)
def test_versions(monkeypatch, installed, affected):
    monkeypatch.setattr(fusions, "version", lambda name: installed)
    assert fusions.affected() is affected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, FLAG),
        ("", FLAG),
        ("--xla_cpu_enable_fast_math=false", f"--xla_cpu_enable_fast_math=false {FLAG}"),
        (f"{FLAG} --xla_dump_to=x", f"{FLAG} --xla_dump_to=x"),
        (f'{FLAG}""', f'{FLAG}""'),
    ],
)
def test_the_flag_is_appended_unless_it_is_there(fresh, before, after):
    if before is not None:
        fresh.setenv("XLA_FLAGS", before)
    fusions.avoid()
    assert os.environ["XLA_FLAGS"] == after
    assert fusions.switched_off()
    fusions.warn_if_unsafe()


def test_with_a_clean_version_they_are_off_too_and_there_is_nothing_to_warn_of(fresh):
    fresh.setattr(fusions, "version", lambda name: "0.10.1")
    fusions.warn_if_unsafe()
    fusions.avoid()
    assert os.environ["XLA_FLAGS"] == FLAG
    fresh.setenv("XLA_FLAGS", f"{FLAG}DOT")
    fusions.avoid()
    fusions.warn_if_unsafe()
    assert os.environ["XLA_FLAGS"] == f"{FLAG}DOT"


def test_under_the_commands_a_sum_does_not_depend_on_how_many_there_are():
    # With the fusions, 40 sums of 2,048 numbers are rounded otherwise than 10 of them.
    sums = """
import experiments, jax, numpy as np
rows = np.random.default_rng(0).normal(size=(1000, 2048)).astype(np.float32)
total = jax.jit(jax.vmap(lambda row: row.sum()))
print([np.array_equal(total(rows[:count])[:4], total(rows[:4])) for count in (10, 40, 1000)])
"""
    compiled = {"XLA_FLAGS": None, "JAX_DISABLE_MOST_OPTIMIZATIONS": None}  # as users compile
    assert python(sums, **compiled)[0] == "[True, True, True]"


@pytest.mark.parametrize("asked", [f"{FLAG}DOT", f"{FLAG} {FLAG}DOT,REDUCE"])
def test_fusions_that_the_user_asks_for_stay_on_with_a_warning(fresh, asked):
    fresh.setenv("XLA_FLAGS", asked)
    with pytest.warns(UnsafeFusionsWarning, match=f"stay on: XLA_FLAGS sets {FLAG[:-1]} itself"):
        fusions.avoid()
    assert os.environ["XLA_FLAGS"] == asked
    with pytest.warns(UnsafeFusionsWarning):
        fusions.warn_if_unsafe()


def test_after_jax_has_started_the_flag_would_come_too_late(fresh):
    fresh.setattr(fusions.xla_bridge, "backends_are_initialized", lambda: True)
    with pytest.warns(UnsafeFusionsWarning, match="stay on: JAX has started"):
        fusions.avoid()
    assert "XLA_FLAGS" not in os.environ


def test_a_file_of_flags_is_read_and_left_alone(fresh, tmp_path):
    flags = tmp_path / "flags"
    flags.write_text("--xla_dump_to=x")
    fresh.setenv("XLA_FLAGS", str(flags))
    with pytest.warns(UnsafeFusionsWarning, match="stay on: XLA_FLAGS names the file"):
        fusions.avoid()
    assert os.environ["XLA_FLAGS"] == str(flags)
    flags.write_text(f"--xla_dump_to=x\n{FLAG}\n")
    fusions.avoid()
    fusions.warn_if_unsafe()
    flags.unlink()
    assert not fusions.switched_off()


@pytest.mark.parametrize(
    ("platforms", "warned"), [(None, 1), ("", 1), ("cpu", 1), ("cuda,cpu", 1), ("cuda", 0), ("tpu", 0)]
)
def test_the_library_warns_only_where_jax_may_use_the_cpu(fresh, recwarn, platforms, warned):
    fresh.setattr(fusions, "jax", SimpleNamespace(config=SimpleNamespace(jax_platforms=platforms)))
    fusions.warn_if_unsafe()
    assert [warning.category for warning in recwarn] == [UnsafeFusionsWarning] * warned
