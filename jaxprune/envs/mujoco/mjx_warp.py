"""Physics "mjx-warp": MJX's second implementation, whose steps are kernels of NVIDIA's Warp.

Bodies, solvers and limits are those of "mjx". It needs the package warp-lang (pip install 'jaxprune[warp]'),
is made for NVIDIA GPUs and runs on a CPU too, and gives no contact forces (`cfrc_ext`).
"""

from dataclasses import replace
from functools import cache
from typing import Any

from jaxprune.envs.mujoco.engine import Engine
from jaxprune.envs.mujoco.mjx import body_of, engine_of, mjx
from jaxprune.envs.mujoco.task import CONTACT_FORCES, MujocoTask
from jaxprune.envs.mujoco.worlds import counted
from jaxprune.errors import SpecError


def engine(task: MujocoTask) -> Engine:
    """The engine for the body of `task`. Contacts of all simulations share one list, so they are counted."""
    _quiet_warp()
    if CONTACT_FORCES in task.readings:
        raise NotImplementedError(f"Warp's step leaves out {CONTACT_FORCES}")
    body = body_of(task)
    compiled = mjx.put_model(body, impl="warp")
    # Written in JAX, it has room for every contact and constraint there can be: then none is ever dropped.
    room: Any = mjx.make_data(body, impl="jax")._impl
    contacts, constraints = max(1, room.contact.dist.size), max(1, room.efc_type.size)

    @cache
    def among(worlds: int) -> Engine:
        return engine_of(
            task,
            body,
            compiled,
            lambda: mjx.make_data(body, impl="warp", naconmax=worlds * contacts, njmax=constraints),
        )

    return replace(
        among(1),
        start=counted(lambda worlds: among(worlds).start),
        advance=counted(lambda worlds: among(worlds).advance),
    )


def _quiet_warp() -> None:
    """Warp would tell of every kernel that it loads. Raises SpecError where it is not installed."""
    try:
        import warp  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise SpecError(
            "physics: mjx-warp needs the package warp-lang; pip install 'jaxprune[warp]'"
        ) from None
    warp.config.log_level = warp.LOG_WARNING
