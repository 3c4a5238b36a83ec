"""Features: what a perfect camera would see of a task at this moment, as a few numbers.

They stand in for pictures in low-dimensional studies. What no picture of the moment shows is in none of them: no count of
ticks, nothing that is past or covered, and of objects that look alike only their places, in an order that follows from the
places. They are not scaled; that is the policy's.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim_bridge.simulation import Simulation
from sim_bridge.tasks import lamp

HAND = ("hand_x_m", "hand_y_m", "hand_z_m")
"""Tool centre point, base frame."""
LAMP = ("lamp_red", "lamp_green", "lamp_blue")
"""The lamp's colour, 0..1."""


def as_features(*parts: ArrayLike) -> NDArray[np.float32]:
    """The parts, scalars or arrays, end to end: float32 (F,)."""
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)


def hand(simulation: Simulation) -> NDArray[np.float64]:
    """The tool centre point, float64 (3,): the values of ``HAND``."""
    return simulation.in_base(simulation.hand_position())


def shown_colour(simulation: Simulation) -> NDArray[np.float32]:
    """The lamp's colour, float32 (3,): the values of ``LAMP``."""
    return simulation.model.geom_rgba[simulation.geom_id(lamp.GEOM), :3].copy()


def cube_names(cube: str) -> tuple[str, ...]:
    """Names of what ``cube_pose`` gives."""
    return (f"{cube}_x_m", f"{cube}_y_m", f"{cube}_z_m", f"{cube}_cos_4_yaw", f"{cube}_sin_4_yaw")


def cube_pose(simulation: Simulation, joint: str) -> NDArray[np.float64]:
    """Centre (m, base frame) and yaw of a free cube, float64 (5,). A quarter turn cannot be seen, so four times the yaw is stated."""
    pose = simulation.data.joint(joint).qpos
    w, x, y, z = pose[3:7]
    yaw_rad = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return np.array([*simulation.in_base(pose[:3]), np.cos(4 * yaw_rad), np.sin(4 * yaw_rad)])
