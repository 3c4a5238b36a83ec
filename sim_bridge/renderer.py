"""Off-screen pictures of a MuJoCo world: one GL context for all cameras, tuned for speed on a CPU."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.errors import ConfigurationError, PolicyError
from sim_bridge.gl_backend import mujoco

MAX_GEOMS = 500


class RenderError(PolicyError):
    """A picture that cannot be drawn."""


@dataclass(frozen=True)
class CameraView:
    """A camera of the model and the size of its picture in pixels."""

    name: str
    height: int
    width: int


def frame_buffer_size(views: Sequence[CameraView]) -> tuple[int, int]:
    """(height, width) of the smallest buffer that holds each view."""
    return max((v.height for v in views), default=1), max((v.width for v in views), default=1)


class Renderer:
    """Draws the views of one model. Only valid in the thread that made it; ``close`` frees the GL context."""

    def __init__(self, model: mujoco.MjModel, views: Sequence[CameraView]) -> None:
        """Raises ``ConfigurationError`` when a view names a camera that the model does not have."""
        height, width = frame_buffer_size(views)
        self._model = model
        self._views = {view.name: view for view in views}
        self._cameras = {view.name: _fixed_camera(model, view.name) for view in views}
        self._option = mujoco.MjvOption()
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._gl = mujoco.GLContext(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        # MuJoCo frees textures and buffers in whatever context is current: left to the garbage collector,
        # a forgotten renderer would empty another one's.
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        # When the process ends, MuJoCo has closed the display first; the system frees the rest.
        self._free.atexit = False

    def render(self, data: mujoco.MjData, camera_name: str) -> NDArray[np.uint8]:
        """The picture as uint8 (height, width, 3), RGB, top row first; the caller's own contiguous copy.

        Raises ``RenderError`` when the camera is unknown, the renderer is closed, or OpenGL reports a fault.
        """
        if not self._free.alive or camera_name not in self._views:
            views = ", ".join(self._views) if self._free.alive else "none, the renderer is closed"
            raise RenderError(f"no view '{camera_name}'; open are: {views}")
        view = self._views[camera_name]
        rect = mujoco.MjrRect(0, 0, view.width, view.height)
        pixels = np.empty((view.height, view.width, 3), np.uint8)
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            None,
            self._cameras[camera_name],
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        mujoco.mjr_render(rect, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, rect, self._context)
        fault = mujoco.mjr_getError()
        if fault:
            raise RenderError(f"OpenGL error {fault:#x} while drawing '{camera_name}'; try MUJOCO_GL=egl or osmesa")
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Frees the GL context; a second call does nothing."""
        self._free()


def _free(gl: mujoco.GLContext, context: mujoco.MjrContext) -> None:
    gl.make_current()
    context.free()
    gl.free()


def _fixed_camera(model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
    known = [model.camera(i).name for i in range(model.ncam)]
    if name not in known:
        raise ConfigurationError(f"camera '{name}' is not in the model; choose one of {', '.join(known)}")
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = known.index(name)
    return camera
