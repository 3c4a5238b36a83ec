"""Starts the loopback robot as a process, tells it what to do to itself, and hears what it reports."""

import contextlib
import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy_server.runtime.errors import PolicyError
from sim_bridge.fr3 import MODEL_PATH

PYTHON_VARIABLE = "FRANKA_SIM_PYTHON"
SERVER = Path(__file__).with_name("server.py")
_DEFAULT_PYTHON = Path(__file__).parents[2] / ".venv-franka-sim/bin/python"
_START_S = 60.0
_END_S = 5.0


class LoopbackRobotError(PolicyError):
    """The loopback robot is not installed, did not start, or has ended."""


@dataclass(frozen=True)
class Abort:
    """A motion that the robot aborted with a reflex: which errors, why, and whether it was asked to."""

    time_ns: int
    errors: tuple[str, ...]
    reason: str
    injected: bool


def franka_sim_python() -> Path:
    """The interpreter that has franka-sim. Raises LoopbackRobotError where there is none."""
    path = Path(os.environ.get(PYTHON_VARIABLE) or _DEFAULT_PYTHON)
    if not path.exists():
        raise LoopbackRobotError(
            f"franka-sim is not installed ({path} is missing): run 'make setup-loopback', or name its interpreter in {PYTHON_VARIABLE}"
        )
    return path


class LoopbackRobot:
    """A running loopback robot.

    Attributes:
        aborts: every motion that it aborted.
        paces: how fast its time went against the wall's, once a second; below 1 the machine is too busy.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        log: Path | None = None,
        enforce_communication: bool = False,
    ) -> None:
        """Starts it and waits until it serves. Raises LoopbackRobotError."""
        self.host = host
        self.aborts: list[Abort] = []
        self.paces: list[float] = []
        self._ready = threading.Event()
        self._log = log
        output = log.open("w", encoding="utf-8") if log else None
        command = [str(franka_sim_python()), str(SERVER), "--host", host, "--model", str(MODEL_PATH)]
        if enforce_communication:
            command.append("--enforce-communication")
        # Of a ROS environment, where one runs: this interpreter is another one.
        environment = {
            k: v
            for k, v in os.environ.items()
            if k not in ("LD_LIBRARY_PATH", "PYTHONPATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
        }
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output or subprocess.DEVNULL,
            text=True,
            process_group=0,
        )
        if output:
            output.close()
        self._reader = threading.Thread(target=self._listen, name="loopback robot", daemon=True)
        self._reader.start()
        self._await_ready()

    def reflex(self, error: str = "joint_reflex") -> None:
        """Abort the running motion with one of libfranka's errors."""
        self._tell(f"reflex {error}")

    def press_user_stop(self) -> None:
        """What a person does in an emergency."""
        self._tell("user_stop")

    def release_user_stop(self) -> None:
        """Let go; the arm then waits in a reflex for its recovery."""
        self._tell("release")

    def close(self) -> None:
        """End it; may be called twice."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)

    def __enter__(self) -> "LoopbackRobot":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _await_ready(self) -> None:
        deadline_s = time.monotonic() + _START_S
        while not self._ready.wait(0.1):
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline_s:
                self.close()
                how = (
                    f"ended with status {self._process.returncode}"
                    if ended
                    else f"does not serve after {_START_S:.0f} s"
                )
                raise LoopbackRobotError(
                    f"the loopback robot at {self.host} {how}: is another one running on that address? (log: {self._log or 'not kept'})"
                )

    def _tell(self, command: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
        except OSError:
            raise LoopbackRobotError(f"the loopback robot at {self.host} has ended; start it again") from None

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(json.JSONDecodeError, KeyError):
                self._hear(json.loads(line))

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "ready":
            self._ready.set()
        elif event["event"] == "pace":
            self.paces.append(event["factor"])
        elif event["event"] == "abort":
            self.aborts.append(Abort(event["time_ns"], tuple(event["errors"]), event["reason"], event["injected"]))
