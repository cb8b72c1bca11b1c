"""The bodies of the tasks: MuJoCo models compiled from XML files, such as those that Gymnasium ships."""

# pyright: reportAttributeAccessIssue=false
# The names of MuJoCo's module are in its compiled part, which has no types.

import copy
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from xml.etree import ElementTree

import mujoco

SHIFTED = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "pair_friction"),
    "gravity": ("opt.gravity",),
    "damping": ("dof_damping", "dof_dampingpoly"),
    "gear": ("actuator_gear",),
}
"""The fields of a model that each parameter of a `Shift` scales."""


def load(xml: str) -> mujoco.MjModel:
    """Compile one of Gymnasium's MuJoCo files, given its name, or another file, given its absolute path.

    The total mass that a file asks for is set after compilation, by the calls that MuJoCo recommends in place
    of the deprecated `settotalmass`: the same model, without the warning and without its log file.

    Raises:
        FileNotFoundError: there is no such file, or no Gymnasium.
    """
    root = ElementTree.parse(_assets() / xml).getroot()
    compiler = root.find("compiler")
    total_mass = None if compiler is None else compiler.attrib.pop("settotalmass", None)
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
    if total_mass is not None:
        mujoco.mj_setTotalmass(model, float(total_mass))
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


def _assets() -> Path:
    # found without importing `gymnasium.envs.mujoco`, which needs a renderer's packages
    gymnasium = find_spec("gymnasium")
    if gymnasium is None or gymnasium.origin is None:
        raise FileNotFoundError("gymnasium, which ships the bodies of the tasks, is not installed")
    return Path(gymnasium.origin).parent / "envs" / "mujoco" / "assets"
