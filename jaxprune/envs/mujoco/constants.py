"""What MuJoCo derives of a body's masses, as functions of one factor of all masses that JAX can trace."""

# pyright: reportAttributeAccessIssue=false
# The names of MuJoCo's module are in its compiled part, which has no types.

from collections.abc import Callable

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import eigh

from jaxprune.envs.mujoco import model

Coefficients = Float[np.ndarray, "*field mode"]


def inverse_weights(body: mujoco.MjModel) -> Callable[[Float[Array, ""]], dict[str, Float[Array, "*field"]]]:
    """Factor -> `dof_invweight0`, `body_invweight0` and `tendon_invweight0` of the body with scaled masses.

    Its inertia at rest is M(f) = f B + A, where A is the armature of joints and actuators. With
    V^T M(1) V = I and V^T B V = diag(mu),

        M(f)^-1 = V diag(1 / (1 + (f - 1) mu)) V^T,

    and each of these numbers, the mean of the diagonal of J M(f)^-1 J^T for a Jacobian J, is linear in those
    1 / (1 + (f - 1) mu). No system is solved, so the factor may be batched.
    """
    rest = mujoco.MjData(body)
    mujoco.mj_fwdPosition(body, rest)
    inertia = _inertia(body)
    of_masses = _inertia(model.shifted(body, mass=2.0)) - inertia
    mu, modes = eigh(of_masses, inertia)
    fields = {
        "dof_invweight0": _of_dofs(body, modes),
        "body_invweight0": _of_bodies(body, rest, modes),
        "tendon_invweight0": _of_tendons(body, rest, modes),
    }

    def weights(factor: Float[Array, ""]) -> dict[str, Float[Array, "*field"]]:
        inverse = 1.0 / (1.0 + (factor - 1.0) * jnp.asarray(mu, jnp.float32))
        return {name: jnp.asarray(field, jnp.float32) @ inverse for name, field in fields.items()}

    return weights


def _inertia(body: mujoco.MjModel) -> Float[np.ndarray, "nv nv"]:
    """The joint-space inertia at rest."""
    rest = mujoco.MjData(body)
    mujoco.mj_fwdPosition(body, rest)
    full = np.zeros((body.nv, body.nv))
    mujoco.mj_fullM(body, rest, full)
    return full


def _of_dofs(body: mujoco.MjModel, modes: Float[np.ndarray, "nv mode"]) -> Coefficients:
    """[nv, mode]. The three directions of a ball share a number, and those of a free joint two."""
    alone, together = modes**2, modes**2
    thirds = {mujoco.mjtJoint.mjJNT_BALL: (0,), mujoco.mjtJoint.mjJNT_FREE: (0, 3)}
    for kind, first in zip(body.jnt_type, body.jnt_dofadr, strict=True):
        for offset in thirds.get(mujoco.mjtJoint(kind), ()):
            place = slice(first + offset, first + offset + 3)
            together[place] = alone[place].mean(axis=0)
    return together


def _of_bodies(
    body: mujoco.MjModel, rest: mujoco.MjData, modes: Float[np.ndarray, "nv mode"]
) -> Coefficients:
    """[nbody, 2, mode], of translation and of rotation; the world has none."""
    found = np.zeros((body.nbody, 2, body.nv))
    for number in range(1, body.nbody):
        jacobians = np.zeros((2, 3, body.nv))
        mujoco.mj_jacBodyCom(body, rest, jacobians[0], jacobians[1], number)
        found[number] = ((jacobians @ modes) ** 2).mean(axis=1)
    return found


def _of_tendons(
    body: mujoco.MjModel, rest: mujoco.MjData, modes: Float[np.ndarray, "nv mode"]
) -> Coefficients:
    """[ntendon, mode]."""
    jacobian = np.zeros((body.ntendon, body.nv))
    for tendon in range(body.ntendon):
        place = slice(body.ten_J_rowadr[tendon], body.ten_J_rowadr[tendon] + body.ten_J_rownnz[tendon])
        jacobian[tendon, body.ten_J_colind[place]] = rest.ten_J[place]
    return (jacobian @ modes) ** 2
