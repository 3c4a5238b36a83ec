"""Serves libfranka's protocol from 127.0.0.x with our FR3 model. Runs in franka-sim's own virtual environment.

franka-sim pins other versions of numpy and MuJoCo than this project, so this file imports nothing of the project and is
started by path (``robot.py`` beside it). It says what happens in JSON lines on standard output and reads commands, one per
line, from standard input: ``reflex <error>`` aborts the motion as the robot would, ``user_stop`` and ``release`` are the
enabling button. It ends with SIGINT, SIGTERM, or when standard input closes.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from franka_sim import FrankaSimServer, mujoco_franka_sim  # type: ignore[import-not-found]
from franka_sim.control_modes import ControlMode  # type: ignore[import-not-found]
from franka_sim.franka_protocol import RobotMode  # type: ignore[import-not-found]
from franka_sim.limits.tables import ERROR_NAMES  # type: ignore[import-not-found]
from franka_sim.sim_common import FR3_FORCE_LIMITS  # type: ignore[import-not-found]

PACE_EVERY_S = 1.0
# As the actuators of fr3.xml, Nm/rad and Nm s/rad.
POSITION_GAIN = [4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0]
VELOCITY_GAIN = [180.0, 180.0, 130.0, 130.0, 40.0, 40.0, 30.0]


def say(event: str, **values: Any) -> None:
    """One JSON line for whoever started this process."""
    print(json.dumps({"event": event, "time_ns": time.time_ns(), **values}), flush=True)


class HoldingArm(mujoco_franka_sim.MujocoFrankaSim):  # type: ignore[misc]
    """franka-sim's arm, which in velocity control also holds the position that the velocities add up to, as the robot does.

    Attributes:
        desired_rad: says that position, ``q_d`` of the robot's state.
    """

    desired_rad: Callable[[], Sequence[float]]

    def arm_control_torque(self) -> Any:
        torque = super().arm_control_torque()
        if self.control_mode != ControlMode.VELOCITY:
            return torque
        error = np.array(self.desired_rad()) - self.data.qpos[self.arm_qpos_adr]
        return np.clip(torque + np.array(POSITION_GAIN) * error, -FR3_FORCE_LIMITS, FR3_FORCE_LIMITS)


class LoopbackServer(FrankaSimServer):  # type: ignore[misc]
    """franka-sim that reports every motion it aborts, and aborts one on demand."""

    injected = False

    def _abort_with_error(self, error_index: Any, reason: str, motion_id: int = 0) -> None:
        indices = (error_index,) if isinstance(error_index, int) else tuple(error_index)
        say("abort", errors=[ERROR_NAMES.get(i, str(i)) for i in indices], reason=reason, injected=self.injected)
        super()._abort_with_error(error_index, reason, motion_id)

    def inject(self, name: str) -> None:
        """Abort the running motion with this error, as the robot does in a reflex."""
        index = next((index for index, known in ERROR_NAMES.items() if known == name), None)
        if index is None:
            say("refused", reason=f"no error is called '{name}'")
            return
        self.injected = True
        try:
            self._abort_with_error(index, f"{name}: injected")
        finally:
            self.injected = False

    def user_stop(self, stopped: bool) -> None:
        """Press or release the enabling button; the robot then waits in a reflex for its recovery."""
        if stopped:
            self._abort_with_error((), "user stop")
        self.robot_state.state["robot_mode"] = RobotMode.kUserStopped if stopped else RobotMode.kReflex


def main() -> int:
    arguments = _parse()
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    simulation = _simulation(arguments.model, arguments.start_rad)
    server = LoopbackServer(
        host=arguments.host,
        physics_sim=simulation,
        gripper_physics=True,
        enforce_motion_limits=True,
        enforce_comm_constraints=arguments.enforce_communication,
    )
    simulation.desired_rad = lambda: server.robot_state.state["q_d"]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    threading.Thread(target=_obey, args=(server,), daemon=True).start()
    threading.Thread(target=_report_pace, args=(server, simulation), daemon=True).start()
    try:
        server.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
    return 0


def _simulation(model: Path, start_rad: list[float]) -> Any:
    """The arm with the hand that our model already has, where franka-sim would graft its own."""
    mujoco_franka_sim._attach_hand = lambda *_: None
    mujoco_franka_sim.default_hand_mjcf = lambda: model
    mujoco_franka_sim.ARM_INITIAL_Q = np.array(start_rad)
    # franka-sim's own damping is for a model with heavier motors: with ours its 1 ms steps would make the wrist tremble.
    mujoco_franka_sim.ARM_POSITION_KP = np.array(POSITION_GAIN)
    mujoco_franka_sim.ARM_POSITION_KD = np.array(VELOCITY_GAIN)
    mujoco_franka_sim.ARM_VELOCITY_KV = np.array(VELOCITY_GAIN)
    return HoldingArm(model_path=str(model), enable_hand=True)


def _obey(server: LoopbackServer) -> None:
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "reflex":
            server.inject(argument)
        elif command in ("user_stop", "release"):
            server.user_stop(command == "user_stop")
    os.kill(os.getpid(), signal.SIGINT)  # whoever started this process is gone


def _report_pace(server: LoopbackServer, simulation: Any) -> None:
    """How fast simulated time goes against the wall's: below 1 the machine is too busy for a robot in real time."""
    while simulation.data is None or not server.running:
        time.sleep(0.05)
    say("ready")
    before_s, before_wall_s = simulation.data.time, time.monotonic()
    while True:
        time.sleep(PACE_EVERY_S)
        now_s, now_wall_s = simulation.data.time, time.monotonic()
        say("pace", factor=round((now_s - before_s) / (now_wall_s - before_wall_s), 3))
        before_s, before_wall_s = now_s, now_wall_s


_interrupted = threading.Event()


def _interrupt(_number: int, _frame: Any) -> None:
    if not _interrupted.is_set():  # once is enough
        _interrupted.set()
        raise KeyboardInterrupt


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="A simulated FR3 behind libfranka's protocol, on loopback.",
        epilog="example: .venv-franka-sim/bin/python sim_bridge/loopback/server.py --host 127.0.0.1 --model sim_bridge/fr3.xml",
    )
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to serve (default 127.0.0.1)")
    parser.add_argument("--model", type=Path, required=True, help="MJCF of the FR3 with its hand")
    parser.add_argument(
        "--start-rad",
        type=float,
        nargs=7,
        default=[0.0, -0.557, 0.0, -2.689, 0.0, 2.132, 0.7854],
        help="where the arm stands at first, rad (default: where episodes start)",
    )
    parser.add_argument(
        "--enforce-communication", action="store_true", help="abort a motion after 20 lost cycles, as the robot does"
    )
    parser.add_argument("--log-level", default="WARNING", help="of franka-sim's own log (default WARNING)")
    arguments = parser.parse_args()
    if not arguments.host.startswith("127."):
        parser.error(
            f"--host {arguments.host} is no loopback address: franka-sim has no protection, keep it on 127.x.x.x"
        )
    return arguments


if __name__ == "__main__":
    sys.exit(main())
