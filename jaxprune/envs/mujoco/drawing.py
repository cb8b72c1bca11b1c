"""Pictures of the bodies, drawn off-screen by MuJoCo's own renderer. Knows no JAX."""

# pyright: reportAttributeAccessIssue=false
# The names of MuJoCo's module are in its compiled part, which has no types.

import os
import platform
from types import TracebackType
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Float, UInt8

from jaxprune.envs.api import Body
from jaxprune.envs.mujoco import model
from jaxprune.errors import SpecError

FOLLOWS = "track"
"""The camera that follows the body, in the files of the tasks that move away."""

CHOICE = "MUJOCO_GL"
"""The environment variable that says what draws, see https://mujoco.readthedocs.io/en/stable/programming/."""


class Drawing:
    """Draws moments of a body, `width` x `height` pixels; to be opened as a context.

    seconds_per_step: how long one action lasts.

    Raises SpecError on construction where nothing can be drawn off-screen.
    """

    def __init__(self, body: Body, width: int, height: int) -> None:
        self._model = model.load(body.xml)
        self._data = mujoco.MjData(self._model)
        self.seconds_per_step = self._model.opt.timestep * body.frame_skip
        self._view = mujoco.MjrRect(0, 0, width, height)
        self._surface, self._renderer = _opened(self._model, width, height)
        self._scene = mujoco.MjvScene(self._model, maxgeom=1000)
        # Shadows and reflections take three quarters of the time where no GPU draws.
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._camera = _camera(self._model)

    def __enter__(self) -> "Drawing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._renderer.free()
        self._surface.free()

    def draw(
        self, qpos: Float[np.ndarray, " nq"], qvel: Float[np.ndarray, " nv"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The body in this state, in red, green and blue."""
        self._data.qpos, self._data.qvel = qpos, qvel
        mujoco.mj_forward(self._model, self._data)
        option, everything = mujoco.MjvOption(), mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, self._data, option, None, self._camera, everything, self._scene)
        mujoco.mjr_render(self._view, self._scene, self._renderer)
        picture = np.empty((self._view.height, self._view.width, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, self._view, self._renderer)
        return picture[::-1]  # OpenGL counts rows from below


def _opened(body: mujoco.MjModel, width: int, height: int) -> tuple[Any, mujoco.MjrContext]:
    """Something to draw on, and what draws the body there. Raises SpecError where there is neither."""
    try:
        surface = _surface_kind()(width, height)
        surface.make_current()
        renderer = mujoco.MjrContext(body, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, renderer)
    # What is missing shows as any error: of a package, of a library that it loads, of a driver.
    except Exception as error:
        (said, *_) = str(error).splitlines() or [type(error).__name__]
        raise SpecError(
            f"watch: nothing can be drawn off-screen here ({said}); install EGL (Debian: apt-get install "
            f"libegl1 libgl1), or OSMesa (libosmesa6) and set {CHOICE}=osmesa"
        ) from None
    return surface, renderer


def _surface_kind() -> type:
    """MuJoCo's own choice, which the environment makes; on Linux without one, EGL, which needs no display."""
    if platform.system() == "Linux" and not os.environ.get(CHOICE):
        from mujoco.egl import GLContext

        return GLContext
    return mujoco.GLContext


def _camera(body: mujoco.MjModel) -> mujoco.MjvCamera:
    """The one that follows the body, or one that stands where the whole body is seen."""
    camera = mujoco.MjvCamera()
    number = mujoco.mj_name2id(body, mujoco.mjtObj.mjOBJ_CAMERA, FOLLOWS)
    if number < 0:
        mujoco.mjv_defaultFreeCamera(body, camera)
    else:
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, number
    return camera
