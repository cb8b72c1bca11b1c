"""Environments: a task (what is controlled) under a physics (what moves it).

env = make("hopper")
state = env.reset(jax.random.key(0))
state, transition = env.step(state, jnp.zeros(env.action_space.size))
"""

from functools import cache, partial

import jax

from jaxprune.envs import locomotion, probes, tabular
from jaxprune.envs.api import Action, ActionSpace, Environment, EnvState, Transition, step_or_reset
from jaxprune.envs.task import embody
from jaxprune.errors import SpecError, unknown_name

__all__ = [
    "Action",
    "ActionSpace",
    "EnvState",
    "Environment",
    "Transition",
    "check_charge",
    "make",
    "physics_names",
    "published_eps",
    "step_or_reset",
    "tasks",
]

CHARGES = ("clipped", "raw")
"""The actions that effort can be charged for."""

_PROBES = {
    "probe/linear": probes.linear,
    "probe/categorical": probes.categorical,
    "probe/tabular": partial(tabular.environment, "probe/tabular", tabular.random_mdp()),
    "probe/chain": partial(tabular.environment, "probe/chain", tabular.chain()),
}

_EVERY_BACKEND = ("generalized", "spring", "positional", "mjx")
_BRAX = {
    "brax/ant": _EVERY_BACKEND,
    "brax/halfcheetah": _EVERY_BACKEND,
    "brax/hopper": _EVERY_BACKEND,
    "brax/humanoid": _EVERY_BACKEND,
    "brax/humanoidstandup": _EVERY_BACKEND,
    "brax/inverted_double_pendulum": _EVERY_BACKEND,
    "brax/inverted_pendulum": _EVERY_BACKEND,
    "brax/pusher": _EVERY_BACKEND,
    "brax/reacher": _EVERY_BACKEND,
    "brax/swimmer": ("generalized",),
    "brax/walker2d": _EVERY_BACKEND,
}


def tasks() -> tuple[str, ...]:
    """The names of all tasks."""
    return (*locomotion.TASKS, *_BRAX, *_PROBES)


def physics_names(task: str) -> tuple[str, ...]:
    """The names of the physics that can move `task`. Asks nothing of JAX, so the device may still be chosen.

    Raises:
        SpecError: there is no such task.
    """
    if task in locomotion.TASKS:
        return ("native", "mjx")
    if task in _BRAX:
        return tuple(f"brax-{backend}" for backend in _BRAX[task])
    if task in _PROBES:
        return ("none",)
    raise unknown_name("task", task, tasks())


def published_eps(task: str) -> float | None:
    """The l_inf radius of the published tables, in the normalised space; None for a task in none of them."""
    return locomotion.TASKS[task].published_eps if task in locomotion.TASKS else None


def check_charge(task: str, charge: str) -> None:
    """Raise SpecError unless the effort of `task` can be charged for the actions that `charge` names.

    Raw actions are for the tasks of Gymnasium that charge effort. The pendulums charge none, and the rewards
    of Brax's tasks and of the probes are defined for clipped actions.
    """
    if charge not in CHARGES:
        raise unknown_name("charge", charge, CHARGES)
    if charge == "raw" and not (task in locomotion.TASKS and locomotion.TASKS[task].effort > 0):
        raise SpecError(
            f"charge: 'raw' is for Gymnasium's tasks with a cost of effort; {task} allows only 'clipped'"
        )


def make(
    task: str, physics: str = "auto", horizon: int | None = None, charge: str = "clipped"
) -> Environment:
    """The environment of `task` under `physics`. Made once: the same names give the same object.

    Args:
        task: one of `tasks()`.
        physics: one of `physics_names(task)`, or "auto". For the gym-MuJoCo tasks that is "native" where JAX
            computes on a CPU and "mjx" on accelerators.
        horizon: steps after which an episode is truncated; None for the task's own.
        charge: the action that the reward's effort is charged for. "clipped": the one clipped to the task's
            range, as in the published tables. "raw": the one before clipping, as in Gymnasium; see
            `check_charge`. Inside the range the two agree.

    Raises:
        SpecError: there is no such task, this physics cannot move it, its effort cannot be charged so, or the
            horizon is not positive.
    """
    known = physics_names(task)
    if physics == "auto":
        on_accelerator = task in locomotion.TASKS and jax.default_backend() != "cpu"
        physics = "mjx" if on_accelerator else known[0]
    if physics not in known:
        raise unknown_name(f"physics of {task}", physics, ("auto", *known))
    if horizon is not None and horizon < 1:
        raise SpecError(f"horizon: {horizon} steps; an episode has at least 1")
    check_charge(task, charge)
    return _build(task, physics, horizon, charge)


# The engines are imported here: MJX and Brax take seconds, and most programs need one engine.
@cache
def _build(task: str, physics: str, horizon: int | None, charge: str) -> Environment:
    if task in _PROBES:
        return _PROBES[task](horizon=horizon or probes.HORIZON)
    if task in _BRAX:
        from jaxprune.envs import brax

        return brax.environment(
            task.removeprefix("brax/"), physics.removeprefix("brax-"), horizon or brax.HORIZON
        )
    if physics == "native":
        from jaxprune.envs.native import engine
    else:
        from jaxprune.envs.mjx import engine
    body = locomotion.TASKS[task]
    return embody(task, body, physics, engine(body), horizon or locomotion.HORIZON, charge)
