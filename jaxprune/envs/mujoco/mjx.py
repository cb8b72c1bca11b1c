"""Physics "mjx": MuJoCo's engine rewritten in JAX, for accelerators.

The same bodies as "native", in float32, and with the constraint solver started cold too. MJX has no PGS
solver, which the humanoid's file asks for, so every body is solved with Newton here (as all others are in
their files). Where a capsule meets the floor steeply, MJX lays the directions of its friction pyramid
differently, which the ant feels. On a CPU, "native" is 20 to 100 times faster.
"""

from collections.abc import Callable
from contextlib import redirect_stdout
from operator import attrgetter

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Bool, Float

from jaxprune.envs.mujoco import model
from jaxprune.envs.mujoco.constants import inverse_weights
from jaxprune.envs.mujoco.engine import Engine
from jaxprune.envs.mujoco.task import CONTACT_FORCES, Motion, MujocoTask
from jaxprune.envs.shift import Shift

with redirect_stdout(None):  # MJX prints that the optional package warp is missing
    from mujoco import mjx


def body_of(task: MujocoTask) -> mujoco.MjModel:  # pyright: ignore[reportAttributeAccessIssue]
    """The body of `task`, with the solver that MJX is given for it."""
    body = model.load(task.xml)
    body.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON  # pyright: ignore[reportAttributeAccessIssue]
    body.opt.iterations = task.mjx_iterations or body.opt.iterations
    body.opt.ls_iterations = task.mjx_ls_iterations or body.opt.ls_iterations
    return body


def engine(task: MujocoTask) -> Engine:
    """The MJX engine for the body of `task`."""
    body = body_of(task)
    return engine_of(task, body, mjx.put_model(body), lambda: mjx.make_data(body))


def engine_of(
    task: MujocoTask,
    body: mujoco.MjModel,  # pyright: ignore[reportAttributeAccessIssue]
    compiled: mjx.Model,
    at_rest: Callable[[], mjx.Data],
) -> Engine:
    """The engine of `body` in one of MJX's implementations, whose model and data these are."""
    weights = inverse_weights(body)

    def under(shift: Shift | None) -> mjx.Model:
        """The body with its shift; `actuator_acc0`, which only muscles have a use for, is not followed."""
        if shift is None:
            return compiled
        scaled = {
            name: attrgetter(name)(compiled) * getattr(shift, parameter)
            for parameter, names in model.SHIFTED.items()
            for name in (*names, *(("body_subtreemass",) if parameter == "mass" else ()))
        }
        return compiled.tree_replace({**scaled, **weights(jnp.asarray(shift.mass))})  # pyright: ignore[reportReturnType]

    def place(qpos: Float[Array, " nq"], qvel: Float[Array, " nv"]) -> mjx.Data:
        return at_rest().replace(qpos=qpos, qvel=qvel)

    def read(data: mjx.Data, shift: Shift | None) -> Motion:
        # MJX keeps the fields that only some of its implementations have apart
        fields = {name: getattr(data if name in vars(data) else data._impl, name) for name in task.readings}
        return Motion(data.qpos, data.qvel, readings=fields, shift=shift)

    def start(qpos: Float[Array, " nq"], qvel: Float[Array, " nv"], shift: Shift | None) -> Motion:
        data = place(qpos, qvel)
        return read(mjx.forward(under(shift), data) if task.readings else data, shift)

    def advance(motion: Motion, control: Float[Array, " act"], going: Bool[Array, ""]) -> Motion:
        # A batch on an accelerator takes as long with fewer of its simulations.
        data = place(motion.qpos, motion.qvel).replace(ctrl=control)
        moved = under(motion.shift)
        data, _ = jax.lax.scan(lambda data, _: (mjx.step(moved, data), None), data, length=task.frame_skip)
        if CONTACT_FORCES in task.readings:
            data = mjx.rne_postconstraint(moved, data)
        return read(data, motion.shift)

    return Engine(
        rest=jnp.asarray(body.qpos0, jnp.float32),
        speeds=body.nv,
        controls=body.nu,
        start=start,
        advance=advance,
    )
