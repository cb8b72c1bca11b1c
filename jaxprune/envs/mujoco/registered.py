"""`gymnasium:ID`: the task of an environment that is registered with Gymnasium, if it is one that we know.

The environment is made once, by Gymnasium, and its XML file, its numbers and its horizon are read off it.
From there on it is a task like any other: moved by our engines, batched and compiled.
"""

# pyright: reportAttributeAccessIssue=false
# The names of MuJoCo's module are in its compiled part, which has no types.

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator

from jaxprune.envs.mujoco import model
from jaxprune.envs.mujoco.classes import CLASSES, task_of
from jaxprune.envs.mujoco.engine import in_mujoco
from jaxprune.envs.mujoco.task import MujocoTask
from jaxprune.envs.task import REGISTERED, Task
from jaxprune.errors import SpecError, unknown_name

MAY_DIFFER = {"metadata", "render", "close", "_get_reset_info"}
"""What a class may say anew without its task being another one, beside the constructor: that sets numbers,
which are read."""


@cache
def task(name: str) -> Task:
    """The task `gymnasium:ID`, or `gymnasium:module:ID` for an environment that a module registers.

    Raises:
        SpecError: there is no such environment, it cannot be made, or what it does is not all known here.
    """
    return in_mujoco(record(name))


def record(name: str) -> MujocoTask:
    """The same as a record of ours. Raises SpecError as `task`."""
    spec = _spec(name)
    env = _made(name, spec)
    known = task_of(env)
    if known is None:
        kind = f"{type(env).__module__}.{type(env).__name__}"
        names = ", ".join(known_names())
        raise SpecError(f"env: {name} is a {kind}, whose reward is none of ours. Known: {names}")
    found, kind = known
    if spec.additional_wrappers:
        wrappers = ", ".join(wrapper.name for wrapper in spec.additional_wrappers)
        raise SpecError(f"env: {name} is registered with wrappers, which are not known here ({wrappers})")
    if spec.max_episode_steps is None:
        raise SpecError(f"env: {name} is registered without max_episode_steps; an episode here has a horizon")
    _check_class(name, env, kind)
    _check_body(name, env)
    theirs = _file(env)
    tuned = {} if theirs == model.find(found.xml) else {"mjx_iterations": None, "mjx_ls_iterations": None}
    return replace(
        found,
        name=name,
        about=f"Gymnasium's {spec.id}",
        xml=theirs,
        frame_skip=env.frame_skip,
        horizon=spec.max_episode_steps,
        action_limit=None,
        published_eps=None,
        **tuned,
    )


def known_names() -> list[str]:
    """The registered environments that are of a known class themselves."""
    return [f"{REGISTERED}{name}" for name, spec in gymnasium.registry.items() if spec.entry_point in CLASSES]


def _spec(name: str) -> EnvSpec:
    *modules, identifier = name.removeprefix(REGISTERED).split(":")
    for module in modules:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            raise SpecError(f"env: {name}: {module!r} cannot be imported ({error})") from None
    if identifier not in gymnasium.registry:
        raise unknown_name("env", name, known_names())
    return gymnasium.registry[identifier]


def _made(name: str, spec: EnvSpec) -> Any:
    """The environment itself, without Gymnasium's wrappers. Raises SpecError where it cannot be made."""
    entry = spec.entry_point
    try:
        make: Callable[..., Any] = load_env_creator(entry) if isinstance(entry, str) else entry  # pyright: ignore
        with model.silent():
            return make(**spec.kwargs)
    except Exception as error:
        line = " ".join(str(error).split())
        raise SpecError(f"env: Gymnasium cannot make {name} ({type(error).__name__}: {line})") from error


def _check_class(name: str, env: Any, kind: type) -> None:
    """Raise SpecError where the environment does something that `kind`, which we know, does not do."""
    line = type(env).__mro__
    between = line[: line.index(kind)]
    new = {member for each in between for member in vars(each) if getattr(kind, member, None) is not None}
    new |= {member for member in vars(env) if callable(getattr(kind, member, None))}
    new = {member for member in new - MAY_DIFFER if not member.startswith("__")}
    if new:
        raise SpecError(
            f"env: {name} is a {kind.__name__} of {kind.__module__} with its own {', '.join(sorted(new))}, "
            "which is not known here; only its file and its numbers may differ"
        )


def _check_body(name: str, env: Any) -> None:
    """Raise SpecError where the body is not that of its file at rest, as when a constructor changes it."""
    ours = model.load(_file(env))
    pairs = {field: (attrgetter(field)(env.model), attrgetter(field)(ours)) for field in _fields(ours)}
    pairs |= {
        "init_qpos": (env.init_qpos, ours.qpos0),
        "init_qvel": (env.init_qvel, np.zeros(ours.nv)),
        "action_space.low": (env.action_space.low, np.float32(ours.actuator_ctrlrange[:, 0])),
        "action_space.high": (env.action_space.high, np.float32(ours.actuator_ctrlrange[:, 1])),
    }
    changed = [field for field, (theirs, read) in pairs.items() if not _same(theirs, read)]
    if changed:
        raise SpecError(
            f"env: {name} has another {', '.join(changed)} than its file {env.fullpath} says; change the file"
        )


def _file(env: Any) -> Path:
    """Of the body. Gymnasium takes "./NAME" for a file in the current folder."""
    return Path(env.fullpath).absolute()


def _same(theirs: Any, read: Any) -> bool:
    theirs, read = np.asarray(theirs), np.asarray(read)
    return theirs.shape == read.shape and np.allclose(theirs, read, rtol=1e-9, atol=1e-12, equal_nan=True)


def _fields(body: mujoco.MjModel) -> list[str]:
    """The numbers of a model that its motion may depend on."""
    fields = [field for field in dir(body) if isinstance(getattr(body, field), np.ndarray)]
    options = [option for option in dir(body.opt) if not option.startswith("_")]
    return fields + [f"opt.{option}" for option in options if not callable(getattr(body.opt, option))]
