"""Joint targets for a hand that points straight down: ``mink`` with a posture regulariser."""

import mink
import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.errors import PolicyError
from sim_bridge.fr3 import HOME_RAD, fr3_spec

POSITION_TOLERANCE_M = 2e-4
ORIENTATION_TOLERANCE_RAD = 2e-3
MAX_ITERATIONS = 60
MAX_STEP_RAD = 0.4
SOLVER = "daqp"


class UnreachableError(PolicyError):
    """A hand pose that no joint configuration within the limits reaches."""


class InverseKinematics:
    """Solves for the tool centre point (site ``tcp``) of an arm alone in the world; frames are the arm's base."""

    def __init__(self) -> None:
        model = fr3_spec().compile()
        self._configuration = mink.Configuration(model)
        self._hand = mink.FrameTask("tcp", "site", position_cost=1.0, orientation_cost=0.3, lm_damping=1e-4)
        self._posture = mink.PostureTask(model, cost=1e-4)
        self._limits = [mink.ConfigurationLimit(model, gain=0.9)]

    def solve(
        self, position_m: NDArray[np.float64], yaw_rad: float, start_rad: NDArray[np.float64] = HOME_RAD
    ) -> NDArray[np.float64]:
        """Joint angles, float64 (7,), rad, that bring the TCP to ``position_m`` (3,), pointing down, turned by yaw.

        ``start_rad`` (7,) is where the search begins and the posture it stays near: the same start and target give
        the same bits. Raises ``UnreachableError``.
        """
        target = _pointing_down(position_m, yaw_rad)
        start = np.concatenate([start_rad, [0.0, 0.0]])
        self._hand.set_target(target)
        self._posture.set_target(start)
        self._configuration.update(start)
        for _ in range(MAX_ITERATIONS):
            self._step()
            if self._has_arrived():
                return self._configuration.q[:7].copy()
        pose = f"{np.round(position_m, 3)} m, yaw {yaw_rad:.2f} rad"
        raise UnreachableError(f"hand pose {pose} is out of reach; choose one nearer to the base")

    def hand_position(self, joints_rad: NDArray[np.float64]) -> NDArray[np.float64]:
        """Position of the TCP, float64 (3,), m, for joint angles (7,)."""
        self._configuration.update(np.concatenate([joints_rad, [0.0, 0.0]]))
        return self._configuration.data.site("tcp").xpos.copy()

    def _has_arrived(self) -> bool:
        error = self._hand.compute_error(self._configuration)
        position_m, orientation_rad = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
        return bool(position_m < POSITION_TOLERANCE_M and orientation_rad < ORIENTATION_TOLERANCE_RAD)

    def _step(self) -> None:
        tasks = [self._hand, self._posture]
        step = mink.solve_ik(self._configuration, tasks, dt=1.0, solver=SOLVER, limits=self._limits)
        largest = float(np.abs(step[:7]).max())
        self._configuration.integrate_inplace(step, min(1.0, MAX_STEP_RAD / max(largest, 1e-12)))


def _pointing_down(position_m: NDArray[np.float64], yaw_rad: float) -> mink.SE3:
    rotation = mink.SO3.from_z_radians(yaw_rad) @ mink.SO3.from_x_radians(np.pi)
    return mink.SE3.from_rotation_and_translation(rotation, np.asarray(position_m, np.float64))
