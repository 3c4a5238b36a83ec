"""Imports MuJoCo with a headless renderer. The variable is read at import, so every module takes ``mujoco`` from here."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco  # noqa: E402

__all__ = ["mujoco"]
