"""Physics "native": MuJoCo's C engine on all processors, called from inside a compiled JAX program.

One call advances the whole batch, whatever its leading axes (member, environment, ...), but for episodes that
have ended: JAX hands over float32 arrays, `mujoco.batch` steps them in float64 on its threads, and float32
comes back. The engine is pure: each call loads every simulation anew and starts MuJoCo's constraint solver
cold, so the outcome depends on state and control alone. Bit for bit it is the loop of `mj_step` over the
same states.
"""

# pyright: reportAttributeAccessIssue=false
# The names of MuJoCo's module are in its compiled part, which has no types.

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from threading import Lock

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from mujoco.batch import Batch

from jaxprune.envs.mujoco import model
from jaxprune.envs.mujoco.engine import Engine
from jaxprune.envs.mujoco.task import CONTACT_FORCES, Motion, MujocoTask
from jaxprune.envs.shift import PARAMETERS, Shift

PARTS = 4
"""In how many steps a batch shrinks as its episodes end."""

PIECE = 512
"""How many simulations go at once where contact forces are read: each keeps all that MuJoCo has worked out,
0.2 MB for a humanoid."""


def engine(task: MujocoTask) -> Engine:
    """The native engine for the body of `task`."""
    body = model.load(task.xml)
    # a simulation that diverges shall come back as NaN, not be put back at rest unseen
    body.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    blank = mujoco.MjData(body)
    shapes = {
        name: jax.ShapeDtypeStruct(getattr(blank, name).shape, jnp.float32)
        for name in ("qpos", "qvel", *task.readings)
    }
    forces = CONTACT_FORCES in shapes
    pools = 2 if forces else 4 * PARTS  # of forces: whole pieces, and what is left over
    pool = _Pool(partial(_Simulations, body, tuple(shapes)), pools)

    def simulate(
        steps: int, going: Bool[Array, "*batch"], *arrays: Float[Array, "*batch _"]
    ) -> dict[str, np.ndarray]:
        # first to NumPy: a JAX operation inside a callback can wait for itself
        axes, count = going.shape, going.size
        flat = [np.asarray(array).reshape(count, -1) for array in arrays]
        everyone = {name: np.zeros((count, *shape.shape), np.float32) for name, shape in shapes.items()}
        with model.silent(), np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf
            for rows in _pieces(_chosen(np.asarray(going).ravel()), count, PIECE if forces else count):
                qpos, qvel, control, *factors = (array[rows] for array in flat)
                with pool.lend(len(qpos), bool(factors)) as simulations:
                    for name, field in simulations.run(qpos, qvel, control, steps, *factors).items():
                        everyone[name][rows] = field
        return {name: values.reshape(*axes, *values.shape[1:]) for name, values in everyone.items()}

    def call(steps: int, shift: Shift | None, going: Bool[Array, ""], *arrays: Float[Array, " _"]) -> Motion:
        arrays = arrays if shift is None else (*arrays, shift.factors)
        fields = jax.pure_callback(
            partial(simulate, steps), shapes, going, *arrays, vmap_method="broadcast_all"
        )
        return Motion(fields.pop("qpos"), fields.pop("qvel"), readings=fields, shift=shift)

    def start(qpos: Float[Array, " nq"], qvel: Float[Array, " nv"], shift: Shift | None) -> Motion:
        if not task.readings:  # nothing to compute, so a reset costs no call
            return Motion(qpos, qvel, readings={}, shift=shift)
        return call(0, shift, jnp.ones((), bool), qpos, qvel, jnp.zeros(body.nu))

    def advance(motion: Motion, control: Float[Array, " act"], going: Bool[Array, ""]) -> Motion:
        return call(task.frame_skip, motion.shift, going, motion.qpos, motion.qvel, control)

    return Engine(
        rest=jnp.asarray(body.qpos0, jnp.float32),
        speeds=body.nv,
        controls=body.nu,
        start=start,
        advance=advance,
    )


def _chosen(going: Bool[np.ndarray, " simulation"]) -> slice | Int[np.ndarray, " chosen"]:
    """The simulations to run: those that are going on, and as many others as make the next of `PARTS` sizes.

    Few sizes, since a batch of simulations is kept for each.
    """
    size = -(-going.size // PARTS)
    wanted = min(going.size, max(1, -(-int(going.sum()) // size)) * size)
    if wanted == going.size:
        return slice(None)
    return np.sort(np.argsort(~going, kind="stable")[:wanted])


def _pieces(
    chosen: slice | Int[np.ndarray, " chosen"], count: int, most: int
) -> Sequence[slice | Int[np.ndarray, " piece"]]:
    """The chosen ones of so many, at most so many at once."""
    if count <= most:
        return [chosen]
    numbers = np.arange(count)[chosen]
    return np.split(numbers, range(most, len(numbers), most))


class _Simulations:
    """`size` simulations of one body, or of as many shifted ones, and the fields to read of them."""

    def __init__(self, body: mujoco.MjModel, names: tuple[str, ...], size: int, shifted: bool):
        self._body = body
        self._batch = Batch(body, size, persistent=CONTACT_FORCES in names)
        self._bodies = _ShiftedBodies(self._batch) if shifted else None
        # live arrays, bound before the first run because MuJoCo fills them from the next run on
        self._fields = {name: self._batch.bind(name) for name in names}

    def run(
        self,
        qpos: np.ndarray,
        qvel: np.ndarray,
        control: np.ndarray,
        steps: int,
        factors: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Each field as [size, ...], `steps` physics steps after the given state; with 0 steps, at it.

        factors: [size, parameter], for simulations of shifted bodies.
        """
        batch = self._batch
        if self._bodies is not None and factors is not None:
            self._bodies.become(factors)
        batch.time = 0.0
        batch.qpos = qpos.reshape(-1, self._body.nq)
        batch.qvel = qvel.reshape(-1, self._body.nv)
        batch.ctrl = control.reshape(-1, self._body.nu)
        batch.qacc_warmstart = 0.0
        if steps == 0:
            batch.forward()
            return self._fields
        batch.step(nstep=steps)
        if CONTACT_FORCES not in self._fields:
            return self._fields
        return self._fields | {CONTACT_FORCES: self._contact_forces()}

    def _contact_forces(self) -> np.ndarray:
        """[size, body, 6] contact forces at the last state the integrator evaluated."""
        data, body = mujoco.MjData(self._body), self._body
        own = None if self._bodies is None else copy.copy(body)
        forces = np.empty((self._batch.nsim, *data.cfrc_ext.shape))
        for simulation in range(len(forces)):
            self._batch.get_data(simulation, data)
            if own is not None:
                body = self._batch.get_model(simulation, own)
            mujoco.mj_rnePostConstraint(body, data)
            forces[simulation] = data.cfrc_ext
        return forces


class _Pool:
    """Keeps simulations and lends them, each to one call at a time: every device calls back from its own
    thread, and none waits for another.

    make: of how many simulations, and whether they are of shifted bodies. most: how many of them are kept.
    """

    def __init__(self, make: Callable[[int, bool], _Simulations], most: int):
        self._make, self._most, self._lock = make, most, Lock()
        self._kept: list[tuple[tuple[int, bool], _Simulations]] = []

    @contextmanager
    def lend(self, size: int, shifted: bool) -> Iterator[_Simulations]:
        """Some that nobody else has; the ones that were given back last are kept."""
        kind = (size, shifted)
        with self._lock:
            at = next((place for place, (kept, _) in enumerate(self._kept) if kept == kind), None)
            lent = None if at is None else self._kept.pop(at)[1]
        if lent is None:
            lent = self._make(*kind)
        yield lent  # those of a call that fails are not kept
        with self._lock:
            self._kept.append((kind, lent))
            del self._kept[: -self._most]


class _ShiftedBodies:
    """The bodies of a batch, each with its own shift.

    MuJoCo derives constants from the masses (`mj_setConst`). That takes about a tenth of a step's time, so it
    is done only for simulations whose shift has changed since the last call.
    """

    def __init__(self, batch: Batch):
        self._batch = batch
        self._factors = np.ones((batch.nsim, len(PARAMETERS)))
        # each field of every simulation, what the task's own body has there, and the place of its factor
        self._fields = [
            (batch.expand(name), attrgetter(name)(batch.model).copy(), PARAMETERS.index(parameter))
            for parameter, names in model.SHIFTED.items()
            for name in names
        ]

    def become(self, factors: Float[np.ndarray, "simulation parameter"]) -> None:
        """Shift every simulation's body as asked."""
        changed = np.flatnonzero((self._factors != factors).any(axis=1))
        if not changed.size:
            return
        self._factors[changed] = factors[changed]
        for field, nominal, place in self._fields:
            field[changed] = np.multiply.outer(self._factors[changed, place], nominal)
        self._batch.set_const(changed)
