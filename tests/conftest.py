"""Every test runs on the CPU with all shapes checked. What is compiled is kept for the session."""

import os
import shutil
from tempfile import mkdtemp

import pytest

OWNS_CACHE = "JAX_COMPILATION_CACHE_DIR" not in os.environ

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Set before JAX is imported, and inherited by the workers of pytest-xdist.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", mkdtemp(prefix="jaxprune-tests-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Tests compile more than they compute.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from jaxtyping import install_import_hook  # noqa: E402

import tests.shapes  # noqa: E402, F401  the hook looks its checker up by name

install_import_hook(["jaxprune"], "tests.shapes.check")

import experiments  # noqa: E402, F401  as the commands do, it switches off what reads unwritten memory


def pytest_unconfigure(config: pytest.Config) -> None:
    """The process that made the cache removes it."""
    if OWNS_CACHE:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
