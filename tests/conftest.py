"""Every test runs on the CPU with all shapes checked. What is compiled is kept for the session."""

import ctypes
import gc
import mmap
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# How long an example takes is no fact about it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

MEMORY, MOST_MEMORY = Path("/proc/self/statm"), 1_400_000_000
"""Where Linux says how many pages a process holds, and how many bytes a worker may hold between two tests."""

OWNS_CACHE = "JAX_COMPILATION_CACHE_DIR" not in os.environ

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Set before JAX is imported, and inherited by the workers of pytest-xdist.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", mkdtemp(prefix="jaxprune-tests-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Tests compile more than they compute. As users compile: XLA_FLAGS= JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if version("jaxlib").startswith("0.10.") and "XLA_FLAGS" not in os.environ:  # later ones know one flag less
    os.environ["XLA_FLAGS"] = (
        "--xla_cpu_opt_preset=FAST_COMPILE --xla_cpu_use_fusion_emitters=false "
        "--xla_cpu_parallel_codegen_split_count=1"  # parts of a program compile side by side, and cost more
    )
# Where in the source an instruction comes from is looked up for each, and nobody reads it.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # see experiments/__init__.py

from jaxtyping import install_import_hook  # noqa: E402

import tests.shapes  # noqa: E402, F401  the hook looks its checker up by name

install_import_hook(["jaxprune"], "tests.shapes.check")

import jax  # noqa: E402  after the settings above

import experiments  # noqa: E402, F401  as the commands do, it switches off what reads unwritten memory


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling:
    """Workers take whole files, so that no two of them compile what the tests of one file share."""
    return LoadFileScheduling(config, log)


def pytest_collection_finish() -> None:
    """Tracing makes objects by the million: what is imported is looked through no more."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _programs_of_one_file() -> Iterator[None]:
    """Programs are dropped with the file that compiled them: all of them together fill gigabytes."""
    yield
    drop_programs()


@pytest.fixture(autouse=True)
def _programs_within_memory() -> Iterator[None]:
    """Some files alone compile more than a small machine holds twice."""
    yield
    if MEMORY.exists() and int(MEMORY.read_text().split()[1]) * mmap.PAGESIZE > MOST_MEMORY:
        drop_programs()


def drop_programs() -> None:
    """Give back what compiled programs and their traces hold. What is needed again comes from the cache."""
    jax.clear_caches()
    gc.collect()
    if platform.libc_ver()[0] == "glibc":  # which keeps what is freed in small pieces
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The process that made the cache removes it."""
    if OWNS_CACHE:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
