"""The FR3 model's names and poses: what the rest of the bridge needs to know of ``fr3.xml``."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim_bridge.gl_backend import mujoco

MODEL_PATH = Path(__file__).with_name("fr3.xml")

ARM_JOINTS = tuple(f"fr3_joint{i}" for i in range(1, 8))
FINGER_JOINTS = ("fr3_finger_joint1", "fr3_finger_joint2")
JOINT_NAMES = ARM_JOINTS + FINGER_JOINTS
"""All joints in the order of ``joint_positions``: seven arm joints (rad), two fingers (m)."""

COMMAND_JOINTS = (*ARM_JOINTS, FINGER_JOINTS[0])
"""Columns of a set-point: seven arm joints (rad) and the finger position (m); both fingers follow it."""

READY_RAD: NDArray[np.float64] = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])
HOME_RAD: NDArray[np.float64] = np.array([0, -0.557, 0, -2.689, 0, 2.132, np.pi / 4])
"""Where episodes start: the ready pose with the hand lowered to (0.36, 0, 0.30) m, so that the cameras see it."""

FINGER_OPEN_M = 0.04
FINGER_CLOSED_M = 0.0


def fr3_spec() -> mujoco.MjSpec:
    """A fresh, editable specification of the arm alone."""
    return mujoco.MjSpec.from_file(str(MODEL_PATH))
