"""All tasks, listed once. Whatever names, makes or documents tasks goes by this list.

Its names are there without JAX's backend and without the engines: MJX and Brax take seconds to import, and
most programs need one engine.
"""

from dataclasses import replace
from functools import cache, partial

import jax

from jaxprune.envs import brax, classic, probes, suite, tabular
from jaxprune.envs.api import Environment
from jaxprune.envs.mujoco import ant, humanoid, pendulums, runners
from jaxprune.envs.mujoco.engine import in_mujoco
from jaxprune.envs.task import CHARGES, REGISTERED, Task
from jaxprune.errors import SpecError, unknown_name

TASKS: dict[str, Task] = {}
"""All tasks by name, in the order in which they are listed."""


def add(*tasks: Task) -> None:
    """List tasks. Raises SpecError for a name that is listed already."""
    for task in tasks:
        if task.name in TASKS:
            raise SpecError(f"task: {task.name!r} is listed already; give it another name")
        TASKS[task.name] = task


MUJOCO = {
    task.name: task
    for task in (
        runners.hopper,
        runners.walker2d,
        runners.halfcheetah,
        ant.ant,
        ant.ant_contact,
        humanoid.humanoid,
        pendulums.inverted_pendulum,
        pendulums.inverted_double_pendulum,
    )
}
"""The tasks that MuJoCo's engines move."""

add(
    *(in_mujoco(task, tested=True) for task in MUJOCO.values()),
    *brax.tasks(),
    *suite.tasks(),
    Task.in_jax("cartpole", "balance a pole on a cart, two actions", classic.cartpole, classic.HORIZON),
    Task.in_jax("acrobot", "swing two links up, three actions", classic.acrobot, classic.HORIZON),
    Task.in_jax("probe/linear", "move a point to 0", probes.linear, probes.HORIZON),
    Task.in_jax("probe/categorical", "name the largest of three numbers", probes.categorical, probes.HORIZON),
    Task.in_jax(
        "probe/tabular",
        "six states with random rewards and transitions",
        partial(tabular.environment, "probe/tabular", tabular.random_mdp()),
        probes.HORIZON,
    ),
    Task.in_jax(
        "probe/chain",
        "walk to the end of a row of states",
        partial(tabular.environment, "probe/chain", tabular.chain()),
        probes.HORIZON,
    ),
)


def tasks() -> tuple[str, ...]:
    """The names of all tasks."""
    return tuple(TASKS)


def named(task: str, field: str = "task") -> Task:
    """The task of that name, `gymnasium:ID` included. Raises SpecError, about `field`, if there is none."""
    if task in TASKS:
        return TASKS[task]
    if task.startswith(REGISTERED):
        from jaxprune.envs.mujoco import registered  # here, because it imports MuJoCo and Gymnasium

        return registered.task(task)
    if task.startswith(suite.PREFIX):
        raise suite.missing(task)
    raise unknown_name(field, task, (*TASKS, f"{REGISTERED}ID"))


def physics_names(task: str) -> tuple[str, ...]:
    """The names of the physics that can move `task`. Asks nothing of JAX, so the device may still be chosen.

    Raises:
        SpecError: there is no such task.
    """
    return named(task).physics


def published_eps(task: str) -> float | None:
    """The l_inf radius of the published tables, in the normalised space; None for a task in none of them.

    Raises:
        SpecError: there is no such task.
    """
    return named(task).published_eps


def check_charge(task: str, charge: str) -> None:
    """Raise SpecError unless the effort of `task` can be charged for the actions that `charge` names.

    Raw actions are for the tasks of Gymnasium that charge effort. The pendulums charge none, and the rewards
    of Brax's tasks and of the probes are defined for clipped actions.
    """
    if charge not in CHARGES:
        raise unknown_name("charge", charge, CHARGES)
    if charge == "raw" and not named(task).charges_raw:
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
    asked = named(task)
    if physics == "auto":
        physics = _automatic(asked)
    if physics not in asked.physics:
        raise unknown_name(f"physics of {task}", physics, ("auto", *asked.physics))
    if horizon is not None and horizon < 1:
        raise SpecError(f"horizon: {horizon} steps; an episode has at least 1")
    check_charge(task, charge)
    return _made(asked, physics, horizon or asked.horizon, charge)


def _automatic(task: Task) -> str:
    if task.on_accelerator is not None and jax.default_backend() != "cpu":
        return task.on_accelerator
    return task.physics[0]


@cache
def _made(task: Task, physics: str, horizon: int, charge: str) -> Environment:
    made = task.build(physics, horizon, charge)
    return replace(made, task=task.name, physics=physics, charge=charge, published_eps=task.published_eps)
