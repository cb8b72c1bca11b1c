"""The bodies of the tasks: MuJoCo models compiled from XML files, such as those that Gymnasium ships."""

# pyright: reportAttributeAccessIssue=false
# The names of MuJoCo's module are in its compiled part, which has no types.

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from threading import Lock

import mujoco

from jaxprune.errors import SpecError

SHIFTED = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "pair_friction"),
    "gravity": ("opt.gravity",),
    "damping": ("dof_damping", "dof_dampingpoly"),
    "gear": ("actuator_gear",),
}
"""The fields of a model that each parameter of a `Shift` scales."""


def find(xml: str | Path, folder: Path | None = None) -> Path:
    """The file that is meant: an absolute path, one in `folder`, or one that Gymnasium ships.

    Raises:
        SpecError: there is no such file, or no Gymnasium.
    """
    shipped = _assets()
    for place in (shipped,) if folder is None else (folder, shipped):
        if (place / xml).is_file():
            return (place / xml).absolute()
    if Path(xml).is_absolute():
        raise SpecError(f"xml: there is no file {xml}")
    near = get_close_matches(str(xml), [path.name for path in shipped.glob("*.xml")], n=1)
    raise SpecError(
        f"xml: there is no file {str(xml)!r} in {shipped if folder is None else folder} or among Gymnasium's"
        + (f"; did you mean {near[0]!r}?" if near else "; give its absolute path")
    )


def load(xml: str | Path) -> mujoco.MjModel:
    """Compile one of Gymnasium's MuJoCo files, given its name, or another file, given its absolute path.

    The total mass that a file asks for is set after compilation, by the calls that MuJoCo recommends in place
    of the deprecated `settotalmass`: the same model, without the warning and without its log file.

    Raises:
        SpecError: there is no such file, no Gymnasium, or MuJoCo cannot read it.
    """
    file = find(xml)
    try:
        spec = mujoco.MjSpec.from_file(str(file))
        total_mass = spec.compiler.settotalmass
        spec.compiler.settotalmass = -1.0  # MuJoCo's word for none
        model = spec.compile()
    except ValueError as error:
        raise SpecError(f"xml: MuJoCo cannot read {file} ({' '.join(str(error).split())})") from None
    if total_mass > 0:
        mujoco.mj_setTotalmass(model, total_mass)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def shifted(body: mujoco.MjModel, **factors: float) -> mujoco.MjModel:
    """A copy of the body with every parameter scaled, and the constants that MuJoCo derives of its masses.

    These are what `mj_setConst` makes them. It leaves `stat` as it is, so the mean inertia, which sets the
    tolerance of the constraint solver, is that of the body itself.
    """
    changed = copy.copy(body)
    for parameter, factor in factors.items():
        for name in SHIFTED[parameter]:
            attrgetter(name)(changed)[:] *= factor
    mujoco.mj_setConst(changed, mujoco.MjData(changed))
    return changed


class _Silence:
    """MuJoCo's warnings, one handler of a whole process, while nobody or somebody asks for silence."""

    def __init__(self) -> None:
        self._lock, self._asking, self._before = Lock(), 0, None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Warnings go neither to stderr nor to a log file: a simulation that fails is counted by us."""
        with self._lock:
            if not self._asking:
                self._before = mujoco.get_mju_user_warning()
                mujoco.set_mju_user_warning(lambda message: None)
            self._asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking:
                    mujoco.set_mju_user_warning(self._before)


silent = _Silence()
"""Of all threads together: the handler that was there before comes back when the last of them is done."""


def _assets() -> Path:
    # found without importing `gymnasium.envs.mujoco`, which needs a renderer's packages
    gymnasium = find_spec("gymnasium")
    if gymnasium is None or gymnasium.origin is None:
        raise SpecError("xml: gymnasium, which ships the bodies of the tasks, is not installed")
    return Path(gymnasium.origin).parent / "envs" / "mujoco" / "assets"
