"""Imports MuJoCo with a headless renderer. The variable is read at import, so all take ``mujoco`` from here."""

import os

from policy_server.runtime.errors import PolicyError

os.environ.setdefault("MUJOCO_GL", "egl")


class NoOpenGLError(PolicyError, ImportError):
    """The libraries that MuJoCo draws with are not installed."""


try:
    import mujoco
except (AttributeError, ImportError, OSError, RuntimeError) as error:
    raise NoOpenGLError(
        f"MuJoCo cannot draw with MUJOCO_GL={os.environ['MUJOCO_GL']} ({error}); "
        "install the Debian packages libegl1 and libgl1-mesa-dri and leave MUJOCO_GL unset"
    ) from error

__all__ = ["NoOpenGLError", "mujoco"]
