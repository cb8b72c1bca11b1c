"""CPU fusions of jaxlib (named YNN in XLA) that no command uses.

From 0.10.2 on, they can take an operand from memory nobody has written. The result is then whatever an
earlier program left there: often zero, so that nobody notices, and sometimes infinite. 0.10.1 does not have
the fault, but there a sum goes to them only where it is large enough, and is rounded otherwise then, so that
what a member becomes would depend on how many others there are. `FLAG` without a value switches them off. XLA
reads its flags when JAX starts its first backend, not when JAX is imported.
"""

import os
import re
import warnings
from importlib.metadata import version
from pathlib import Path

import jax
from jax._src import xla_bridge

FIRST_AFFECTED = (0, 10, 2)
LAST_CLEAN = "0.10.1"
FLAG = "--xla_cpu_experimental_ynn_fusion_type="
"""The list of fusions that XLA may use; empty, it uses none."""


class UnsafeFusionsWarning(UserWarning):
    """On this process's CPU, programs may read memory that was never written."""


def affected() -> bool:
    """Whether the fusions of the installed jaxlib read unwritten memory."""
    numbers = re.findall(r"\d+", version("jaxlib"))
    return tuple(map(int, numbers[:3])) >= FIRST_AFFECTED


def switched_off() -> bool:
    """Whether XLA_FLAGS, or the file it names, leaves the list of fusions empty; the last entry counts."""
    lists = re.findall(rf"{FLAG}(\S*)", _flags())
    return bool(lists) and not lists[-1].strip("\"'")


def avoid() -> None:
    """Switch the fusions off in this process and its children.

    To be called before JAX has started. Entries of XLA_FLAGS that are there already stay as they are, one for
    the same flag included.

    Warns:
        UnsafeFusionsWarning: the installed jaxlib is affected and its fusions stay on, because JAX has
            started or because XLA_FLAGS asks for them.
    """
    if switched_off():
        return
    if _started():
        reason = "JAX has started already"
    elif FLAG in _flags():
        reason = f"XLA_FLAGS sets {FLAG[:-1]} itself"
    elif _names_a_file():
        reason = f"XLA_FLAGS names the file {os.environ['XLA_FLAGS']}"
    else:
        os.environ["XLA_FLAGS"] = f"{_flags()} {FLAG}".strip()
        return
    if affected():
        warnings.warn(f"the CPU fusions stay on: {reason}. {_fault()}", UnsafeFusionsWarning, stacklevel=2)


def warn_if_unsafe() -> None:
    """What the library says when it is imported.

    Warns:
        UnsafeFusionsWarning: the installed jaxlib is affected, JAX may use the CPU, the fusions are on.
    """
    platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
    if affected() and not switched_off() and (not platforms or "cpu" in platforms.split(",")):
        warnings.warn(_fault(), UnsafeFusionsWarning, stacklevel=3)


def _fault() -> str:
    return (
        f"jaxlib {version('jaxlib')} reads memory it never wrote, in its CPU fusions: numbers can be wrong. "
        f"Install jax and jaxlib {LAST_CLEAN}, or set XLA_FLAGS={FLAG} (no value) before JAX starts"
    )


def _flags() -> str:
    """What XLA_FLAGS says. For XLA a value that does not begin with a dash is the name of a file."""
    if not _names_a_file():
        return os.environ.get("XLA_FLAGS", "")
    try:
        return Path(os.environ["XLA_FLAGS"]).read_text()
    except OSError:
        return ""


def _names_a_file() -> bool:
    given = os.environ.get("XLA_FLAGS", "").strip()
    return bool(given) and not given.startswith("-")


def _started() -> bool:
    """Whether JAX has started a backend. JAX has no public way to ask that does not start one."""
    return xla_bridge.backends_are_initialized()
