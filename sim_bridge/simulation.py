"""The running physics as tasks see it: model, data and where the hand is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_bridge.gl_backend import mujoco


@dataclass(frozen=True)
class Simulation:
    """One compiled model with its state. ``data`` changes as the world advances.

    Positions are in the table's frame, m: that of the arm's base, with its origin at the height of the table's top. The two are
    the same unless a shift moves the table: then the arm's foot stands at -``table_m``.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    tcp_site: int
    table_m: float = 0.0

    def hand_position(self) -> NDArray[np.float64]:
        """Tool centre point, float64 (3,)."""
        return self.data.site_xpos[self.tcp_site].copy()

    def in_base(self, positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (..., 3) of the table's frame in the frame of the arm's base."""
        return positions_m + np.array([0.0, 0.0, self.table_m])

    def geom_id(self, name: str) -> int:
        return int(self.model.geom(name).id)

    def mocap_id(self, body: str) -> int:
        return int(self.model.body(body).mocapid[0])

    def place_mocap(self, body: str, position_m: NDArray[np.float64], yaw_rad: float = 0.0) -> None:
        """Moves a kinematic body (one without dynamics)."""
        index = self.mocap_id(body)
        self.data.mocap_pos[index] = position_m
        self.data.mocap_quat[index] = [np.cos(yaw_rad / 2), 0, 0, np.sin(yaw_rad / 2)]

    def place_free(self, joint: str, position_m: NDArray[np.float64], yaw_rad: float = 0.0) -> None:
        """Puts a free body at rest at a pose."""
        self.data.joint(joint).qpos = [*position_m, np.cos(yaw_rad / 2), 0, 0, np.sin(yaw_rad / 2)]
        self.data.joint(joint).qvel = 0.0


def simulation_of(model: mujoco.MjModel, table_m: float = 0.0) -> Simulation:
    return Simulation(model, mujoco.MjData(model), int(model.site("tcp").id), table_m)
