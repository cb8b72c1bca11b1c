"""Where the arrays live, and where compiled programs are kept between runs."""

import os
from pathlib import Path

import jax

from jaxprune.errors import SpecError, unknown_name

DEVICES = ("auto", "cpu", "gpu", "tpu")
CACHE_VARIABLE = "JAXPRUNE_CACHE"

ROOM = 0.95
"""Of a machine's memory, what plans may fill. The rest is for the system, and for what plans do not see:
1,024 Humanoid members took 2.5 % more than was planned.
"""


def select(device: str) -> None:
    """Use this kind of device, or with "auto" what JAX finds first. To be called before any array is made.

    Raises SpecError for an unknown kind, or one this machine does not have.
    """
    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    if device == "auto":
        return
    before = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_platforms", {"gpu": "cuda"}.get(device, device))
    try:
        jax.devices(device)
    except RuntimeError:
        jax.config.update("jax_platforms", before)
        raise SpecError(f"device: this machine has no {device} that JAX can use; use auto or cpu") from None


def keep_compiled() -> None:
    """Keep compiled programs in $JAXPRUNE_CACHE, by default ~/.cache/jaxprune; nowhere if it is empty."""
    folder = os.environ.get(CACHE_VARIABLE, str(Path.home() / ".cache" / "jaxprune"))
    if folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def memory() -> int | None:
    """Bytes that there are for a process, on the accelerator or in the machine; None if not known."""
    first = jax.devices()[0]
    if first.platform != "cpu":
        return (first.memory_stats() or {}).get("bytes_limit")
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not every system says
        return None
    return int(ROOM * min([installed, *granted()]))


def granted(processes: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Bytes that a container, or a job of a cluster, may use: the limits of control groups that hold it."""
    if not processes.is_file():
        return []
    (own,) = [line for line in processes.read_text().splitlines() if line.startswith("0::")] or ["0::/"]
    group = groups / own.removeprefix("0::").lstrip("/")
    limits = [place / "memory.max" for place in (group, *group.parents) if place.is_relative_to(groups)]
    said = [limit.read_text().strip() for limit in limits if limit.is_file()]
    return [int(most) for most in said if most != "max"]
