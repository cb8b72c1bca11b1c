"""Environments: a task (what is controlled) under a physics (what moves it).

env = make("hopper")
state = env.reset(jax.random.key(0))
state, transition = env.step(state, jnp.zeros(env.action_space.size))

All tasks are listed in `catalogue`; `add` lists another one.
"""

from jaxprune.envs.api import Action, ActionSpace, Body, Environment, EnvState, Transition, step_or_reset
from jaxprune.envs.catalogue import TASKS, add, check_charge, make, named, physics_names, published_eps, tasks
from jaxprune.envs.episode import begin, proceed
from jaxprune.envs.mujoco.engine import in_mujoco
from jaxprune.envs.mujoco.task import Motion, MujocoTask, normal, uniform
from jaxprune.envs.randomised import randomised
from jaxprune.envs.shift import PARAMETERS, Shift, check_shift, draw_shift
from jaxprune.envs.squashed import squash, squashed
from jaxprune.envs.task import Task

__all__ = [
    "PARAMETERS",
    "TASKS",
    "Action",
    "ActionSpace",
    "Body",
    "EnvState",
    "Environment",
    "Motion",
    "MujocoTask",
    "Shift",
    "Task",
    "Transition",
    "add",
    "begin",
    "check_charge",
    "check_shift",
    "draw_shift",
    "in_mujoco",
    "make",
    "named",
    "normal",
    "physics_names",
    "proceed",
    "published_eps",
    "randomised",
    "squash",
    "squashed",
    "step_or_reset",
    "tasks",
    "uniform",
]
