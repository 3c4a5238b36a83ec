"""The loopback robot as a process."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sim_bridge.fr3 import MODEL_PATH
from sim_bridge.loopback.robot import SERVER, LoopbackRobot, LoopbackRobotError, franka_sim_python

ADDRESS = f"127.0.2.{1 + os.getpid() % 250}"


@pytest.fixture
def installed() -> Path:
    try:
        return franka_sim_python()
    except LoopbackRobotError as error:
        pytest.skip(str(error))


def wait_for(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_where_it_is_not_installed_the_error_names_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRANKA_SIM_PYTHON", "/nowhere/python")
    with pytest.raises(LoopbackRobotError, match="make setup-loopback"):
        LoopbackRobot()


@pytest.mark.ros
def test_it_reports_its_pace_and_what_it_aborts(installed: Path) -> None:
    with LoopbackRobot(ADDRESS) as robot:
        robot.reflex("joint_velocity_violation")
        wait_for(lambda: robot.aborts and robot.paces)
        assert robot.aborts[0].errors == ("joint_velocity_violation",)
        assert robot.aborts[0].injected
        with pytest.raises(LoopbackRobotError, match="another one"):
            LoopbackRobot(ADDRESS)
    robot.close()


@pytest.mark.ros
def test_it_serves_loopback_only(installed: Path) -> None:
    refused = subprocess.run(
        [str(installed), str(SERVER), "--host", "0.0.0.0", "--model", str(MODEL_PATH)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    assert "no loopback address" in refused.stderr
