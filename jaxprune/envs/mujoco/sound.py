"""What a task of MuJoCo must be to run, asked before an engine is made of it."""

# pyright: reportAttributeAccessIssue=false
# The names of MuJoCo's module are in its compiled part, which has no types.

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from jaxprune.envs.mujoco import model
from jaxprune.envs.mujoco.task import CONTACT_FORCES, Motion, MujocoTask
from jaxprune.errors import SpecError, unknown_name

NOT_CARRIED = {
    "na": "actuators with a state of their own, such as muscles or filters",
    "nhistory": "delays",
    "npluginstate": "plugins with a state of their own",
}
"""Sizes of a model that must be 0: what a body remembers beside its positions and velocities."""

OF_CONTACTS = ("efc_", "iefc_", "efm_", "contact")
"""How the fields of `mjData` begin whose shapes are those of the contacts of the moment."""

YIELDS = {
    "observe": (1, jnp.floating, "float32[obs]"),
    "reward": (0, jnp.floating, "float32[]"),
    "terminate": (0, jnp.bool_, "bool[]"),
}
"""Rank and type of what each function yields, and both in words."""


def sound(task: MujocoTask) -> MujocoTask:
    """The task with its file found and the range of its actions known.

    Raises:
        SpecError: the file is missing or cannot be read, the body cannot be controlled by a policy, or one of
            the task's functions yields at a reset what none can use.
    """
    found = replace(task, xml=model.find(task.xml, _folder(task.observe)))
    body = model.load(found.xml)
    _check_body(found, body)
    limited = replace(found, action_limit=task.action_limit or _limit(found, body))
    _check_functions(limited, body)
    return limited


def _folder(function: Callable[..., Any]) -> Path | None:
    """Of the module in which a function is written, where it is one of a file."""
    while isinstance(function, partial):
        function = function.func
    file = getattr(function, "__globals__", {}).get("__file__")
    return None if file is None else Path(file).parent


def _check_body(task: MujocoTask, body: mujoco.MjModel) -> None:
    if body.nv == 0 or body.nu == 0:
        lacking = "joints" if body.nv == 0 else "actuators"
        raise SpecError(f"xml of {task.name}: {task.xml} has no {lacking}; there is nothing to control")
    for size, what in NOT_CARRIED.items():
        if getattr(body, size):
            raise SpecError(
                f"xml of {task.name}: {task.xml} has {what}; a state here is positions and velocities alone"
            )
    for field in ("frame_skip", "horizon"):
        if getattr(task, field) < 1:
            raise SpecError(f"{field} of {task.name}: {getattr(task, field)}; it is at least 1")
    if task.action_limit is not None and task.action_limit <= 0:
        raise SpecError(f"action_limit of {task.name}: {task.action_limit}; it is above 0")
    _check_readings(task, mujoco.MjData(body))


def _check_readings(task: MujocoTask, data: mujoco.MjData) -> None:
    for name in task.readings:
        if not isinstance(getattr(data, name, None), np.ndarray) or name.startswith(OF_CONTACTS):
            fields = (field for field in dir(data) if not field.startswith(("_", *OF_CONTACTS)))
            arrays = [field for field in fields if isinstance(getattr(data, field, None), np.ndarray)]
            raise unknown_name(f"readings of {task.name}", name, arrays)
        if getattr(data, name).size == 0:
            raise SpecError(f"readings of {task.name}: {task.xml} has nothing that {name!r} could hold")


def _limit(task: MujocoTask, body: mujoco.MjModel) -> float:
    """The range of all actuators, where they share one about 0."""
    ranges = {(low, high) for low, high in body.actuator_ctrlrange.tolist()}
    low, high = min(ranges)
    if not body.actuator_ctrllimited.all() or len(ranges) > 1 or low != -high:
        said = ", ".join(f"[{low:g}, {high:g}]" for low, high in sorted(ranges))
        raise SpecError(
            f"action_limit of {task.name}: the actuators of {task.xml} have ctrlrange {said}; give all "
            "the same one about 0 (gear scales it), or say action_limit"
        )
    return high


def _check_functions(task: MujocoTask, body: mujoco.MjModel) -> None:
    """What they yield at the reset of one key: shapes, types, and that it is finite."""
    start, action = _reset(task, body), jnp.zeros(body.nu)
    calls: dict[str, Callable[[], Any]] = {
        "observe": lambda: task.observe(start),
        "reward": lambda: task.reward(start, start, action),
        "terminate": lambda: task.terminate(start),
    }
    for field, call in calls.items():
        found, (rank, kind, wanted) = _shape(task, field, call), YIELDS[field]
        if len(found.shape) != rank or 0 in found.shape or not jnp.issubdtype(found.dtype, kind):
            raise SpecError(
                f"{field} of {task.name}: yields {found.dtype}{list(found.shape)} at a reset, not {wanted}"
            )
    for field, value in jax.device_get(jax.jit(lambda: {name: calls[name]() for name in calls})()).items():
        if not np.isfinite(value).all():
            shown = np.array2string(np.asarray(value), threshold=20)
            raise SpecError(f"{field} of {task.name}: yields {shown} at a reset; all of it must be finite")


def _reset(task: MujocoTask, body: mujoco.MjModel) -> Motion:
    """What the functions see at the reset of one key."""
    data = mujoco.MjData(body)
    for field, noise, place in (
        ("position_noise", task.position_noise, data.qpos),
        ("velocity_noise", task.velocity_noise, data.qvel),
    ):
        drawn = _shape(task, field, partial(noise, jax.random.key(0), place.shape))
        if drawn.shape != place.shape:
            raise SpecError(f"{field} of {task.name}: yields {list(drawn.shape)} for {list(place.shape)}")
        place += np.asarray(noise(jax.random.key(0), place.shape))
    mujoco.mj_forward(body, data)
    if CONTACT_FORCES in task.readings:
        mujoco.mj_rnePostConstraint(body, data)
    fields = {name: jnp.float32(getattr(data, name)) for name in ("qpos", "qvel", *task.readings)}
    return Motion(fields.pop("qpos"), fields.pop("qvel"), readings=fields)


def _shape(task: MujocoTask, field: str, call: Callable[[], Any]) -> jax.ShapeDtypeStruct:
    """Of what a function yields. Raises SpecError, naming the function, for whatever it raises."""
    try:
        return jax.eval_shape(lambda: jnp.asarray(call()))
    except Exception as error:
        line, *_ = str(error).splitlines() or [""]
        raise SpecError(
            f"{field} of {task.name}: fails at a reset, {type(error).__name__}: {line} "
            f"(its readings are {', '.join(task.readings) or 'none'})"
        ) from error
