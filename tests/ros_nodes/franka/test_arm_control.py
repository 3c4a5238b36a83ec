"""Guard, states and a backend together: what it takes to move, and what stops the arm."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.actions import ActionChunk
from ros_nodes.franka.arm_control import ArmControl
from ros_nodes.franka.arm_states import ArmState, CommandRefused
from ros_nodes.franka.backends.backend import ArmMode, ArmReading
from ros_nodes.franka.backends.fake_arm import FakeArm
from ros_nodes.franka.backends.lead import motion_at
from ros_nodes.franka.dead_man import DeadMan
from ros_nodes.franka.guard import LatchError
from ros_nodes.franka.set_points import SetPoints
from ros_nodes.franka.settings import load_guard_settings

SETTINGS = load_guard_settings(Path(__file__).parents[3] / "config" / "arm.yaml")
READY = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])
MS = 1_000_000
TICK_NS = 100 * MS


class Robot:
    """A fake arm, its control, and a clock that both read; led along joint 1 at 0.5 rad/s while the policy answers."""

    def __init__(self, **options: object) -> None:
        self.now_ns = 1000 * MS
        self.arm = FakeArm(READY, lambda: self.now_ns)
        self.wrench = np.zeros(6)
        read = self.arm.read
        self.arm.read = lambda: replace(read(), external_wrench=self.wrench)  # type: ignore[method-assign, type-var]
        self.control = ArmControl(SETTINGS, self.arm, **options)  # type: ignore[arg-type]

    @property
    def state(self) -> ArmState:
        return self.control.states.state

    @property
    def joint_rad(self) -> float:
        return float(self.measured.positions_rad[0])

    @property
    def measured(self) -> ArmReading:
        reading = self.arm.read()
        assert reading is not None
        return reading

    def run(self, duration_s: float, answering: bool = True) -> None:
        """Commands every 20 ms, and a chunk every 100 ms while the policy answers."""
        for _ in range(round(duration_s / 0.02)):
            if answering and self.now_ns % TICK_NS == 0:
                self._answer()
            self.control.advance(self.now_ns, self.now_ns + 40 * MS)
            self.now_ns += 20 * MS

    def _answer(self) -> None:
        target = np.append(READY, 0.04)
        steps = np.tile(target, (8, 1))
        steps[:, 0] = self.joint_rad + 0.05 * np.arange(1, 9)
        chunk = ActionChunk(self.now_ns, TICK_NS, self.control.guard.joints, steps.astype(np.float32))
        if self.control.is_ready_for(chunk, self.now_ns):
            self.control.follow(chunk, self.now_ns)


def running(**options: object) -> Robot:
    robot = Robot(**options)
    robot.control.hear_dead_man(True, robot.now_ns)
    robot.control.arm(robot.now_ns)
    robot.run(0.1)
    return robot


def rests(robot: Robot) -> bool:
    return not robot.measured.velocities_rad_s.any()


def test_nothing_moves_before_the_arm_is_armed() -> None:
    robot = Robot()
    robot.run(0.5)
    assert robot.state == ArmState.UNARMED and robot.joint_rad == 0.0
    robot.control.arm(robot.now_ns)
    assert robot.state == ArmState.ARMED
    robot.run(0.5)
    assert robot.state == ArmState.RUNNING and robot.joint_rad > 0.1


def test_in_simulation_the_first_chunk_moves_the_arm() -> None:
    robot = Robot(auto_arm=True)
    robot.run(0.5)
    assert robot.state == ArmState.RUNNING and robot.joint_rad > 0.1


@pytest.mark.parametrize(("auto_resume", "state"), [(False, ArmState.HOLDING), (True, ArmState.RUNNING)])
def test_after_a_silence_the_arm_rests_and_goes_on_by_command_or_by_itself(auto_resume: bool, state: ArmState) -> None:
    robot = running(auto_resume=auto_resume)
    robot.run(0.5)
    robot.run(1.0, answering=False)
    assert robot.state == ArmState.HOLDING and "watchdog" in robot.control.states.cause and rests(robot)
    rested_rad = robot.joint_rad
    robot.run(0.5)
    assert robot.state == state
    assert (robot.joint_rad == rested_rad) == (state == ArmState.HOLDING)
    robot.control.arm(robot.now_ns)
    robot.run(0.5)
    assert robot.state == ArmState.RUNNING and robot.joint_rad > rested_rad


def test_a_pause_holds_whatever_the_policy_says_until_armed_again() -> None:
    robot = running()
    robot.run(0.5)
    robot.control.pause()
    robot.run(1.0)
    assert robot.state == ArmState.HOLDING and rests(robot)
    held_rad = robot.joint_rad
    robot.run(1.0)
    assert robot.joint_rad == held_rad
    robot.control.arm(robot.now_ns)
    robot.run(0.5)
    assert robot.joint_rad > held_rad


def test_a_stop_latches_until_recovered_and_armed() -> None:
    robot = running()
    robot.run(0.5)
    robot.control.stop()
    with pytest.raises(CommandRefused, match="coming to rest"):
        robot.control.recovered(robot.now_ns)
    robot.run(1.0)
    assert robot.state == ArmState.FAULT and rests(robot) and robot.control.guard.state == "unlatched"
    with pytest.raises(CommandRefused, match="stopped by the operator"):
        robot.control.arm(robot.now_ns)
    robot.control.recovered(robot.now_ns)
    held_rad = robot.joint_rad
    robot.run(0.5)
    assert robot.state == ArmState.UNARMED and robot.joint_rad == held_rad
    robot.control.arm(robot.now_ns)
    robot.run(0.5)
    assert robot.state == ArmState.RUNNING and robot.joint_rad > held_rad


def test_a_reflex_is_named_and_only_recovery_and_arming_lead_back_to_motion() -> None:
    robot = running()
    robot.run(0.5)
    robot.arm.fail(ArmMode.REFLEX, "joint_velocity_discontinuity")
    robot.run(0.2)
    assert robot.state == ArmState.FAULT and "joint_velocity_discontinuity" in robot.control.states.cause
    assert robot.control.guard.state == "unlatched"
    with pytest.raises(CommandRefused, match="in mode reflex"):
        robot.control.recovered(robot.now_ns)
    robot.arm.recover()
    robot.control.recovered(robot.now_ns)
    stopped_rad = robot.joint_rad
    robot.run(0.3)
    assert robot.joint_rad == stopped_rad
    robot.control.arm(robot.now_ns)
    robot.run(0.5)
    assert robot.state == ArmState.RUNNING and robot.joint_rad > stopped_rad


def test_a_touch_above_the_limit_stops_the_arm_for_good_and_is_counted() -> None:
    robot = running()
    robot.run(0.5)
    robot.wrench[2] = -SETTINGS.contact.force_n - 1.0
    robot.run(1.0)
    assert robot.state == ArmState.FAULT and "the hand feels 41.0 N" in robot.control.states.cause and rests(robot)
    assert robot.control.contacts["external_force"] == 1
    robot.control.recovered(robot.now_ns)
    with pytest.raises(CommandRefused, match="the hand feels"):
        robot.control.arm(robot.now_ns)
    robot.wrench[2] = 0.0
    robot.control.arm(robot.now_ns)


def test_a_joint_that_bears_too_much_stops_the_arm() -> None:
    robot = running()
    robot.control.measure_torques(np.array([0.0, 86.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    robot.run(0.1)
    assert robot.state == ArmState.FAULT and robot.control.contacts["joint_torque"] == 1


def test_a_released_or_silent_dead_man_holds_the_arm_until_it_is_held_and_armed_again() -> None:
    robot = Robot(dead_man=DeadMan(200 * MS), auto_resume=True)
    with pytest.raises(CommandRefused, match="never heard"):
        robot.control.arm(robot.now_ns)
    robot.control.hear_dead_man(True, robot.now_ns)
    robot.control.arm(robot.now_ns)
    robot.run(0.2)
    assert robot.state == ArmState.RUNNING
    robot.run(1.0)
    assert robot.state == ArmState.HOLDING and "silent" in robot.control.states.cause and rests(robot)
    robot.control.hear_dead_man(True, robot.now_ns)
    robot.run(0.1)
    assert robot.state == ArmState.HOLDING
    robot.control.arm(robot.now_ns)
    robot.run(0.1)
    assert robot.state == ArmState.RUNNING


def test_a_user_stop_is_a_fault_that_waits_for_its_release() -> None:
    robot = running()
    robot.arm.fail(ArmMode.USER_STOPPED)
    robot.run(0.1)
    assert robot.state == ArmState.FAULT and "user stopped" in robot.control.states.cause
    robot.arm.release()
    robot.control.recovered(robot.now_ns)
    assert robot.state == ArmState.UNARMED


def test_an_arm_that_is_lost_is_a_fault_and_in_simulation_a_pause() -> None:
    robot, simulated = running(), Robot(auto_arm=True, auto_resume=True)
    simulated.run(0.2)
    for each in (robot, simulated):
        each.arm.fail(ArmMode.DISCONNECTED)
        each.run(0.1)
    assert robot.state == ArmState.FAULT and simulated.state == ArmState.HOLDING
    simulated.arm.release()
    simulated.run(1.5)
    assert simulated.state == ArmState.RUNNING


def test_an_arm_that_cannot_be_taken_over_is_refused_when_it_is_armed() -> None:
    robot = Robot()
    robot.arm._rest = np.zeros(7)
    with pytest.raises(CommandRefused, match=r"fr3_joint4 is at 0\.0000"):
        robot.control.arm(robot.now_ns)
    simulated = Robot(auto_arm=True)
    simulated.arm._rest = np.zeros(7)
    with pytest.raises(LatchError, match="fr3_joint4"):
        simulated.run(0.2)


def test_the_arm_is_taken_over_only_by_what_was_measured_after_the_reset() -> None:
    robot = Robot(auto_arm=True)
    old = robot.measured
    robot.now_ns += 50 * MS
    robot.control.reset(robot.now_ns)
    robot.arm.read = lambda: old  # type: ignore[method-assign]
    chunk = ActionChunk(
        robot.now_ns, TICK_NS, robot.control.guard.joints, np.tile([*READY, 0.04], (8, 1)).astype(np.float32)
    )
    assert not robot.control.is_ready_for(chunk, robot.now_ns)
    robot.arm.read = lambda: replace(old, stamp_ns=robot.now_ns)  # type: ignore[method-assign]
    assert robot.control.is_ready_for(chunk, robot.now_ns)


def test_the_last_word_is_a_way_to_rest() -> None:
    robot = running()
    robot.run(0.5)
    robot.control.come_to_rest(robot.now_ns)
    robot.now_ns += 1000 * MS
    assert rests(robot) and robot.joint_rad > 0.1


@pytest.mark.parametrize("stall_ms", [60, 160, 280, 700])
def test_after_a_stall_the_arm_goes_on_from_the_way_to_rest_that_it_took_meanwhile(stall_ms: int) -> None:
    robot = running(auto_resume=True)
    handed_on: list[SetPoints] = []
    follow = robot.arm.follow
    robot.arm.follow = lambda points: (handed_on.append(points), follow(points))[1]  # type: ignore[func-returns-value, method-assign]
    robot.run(0.5)
    robot.now_ns += stall_ms * MS
    robot.run(0.4)
    for before, after in itertools.pairwise(handed_on):
        # Where the arm would be by what it had is where it is led on from, but for what one period can change.
        expected, _ = motion_at(before, int(after.times_ns[0]))
        assert np.abs(after.positions[0] - expected).max() < 1e-3
    assert robot.control.guard.counters["late"] == 1
    assert robot.state == ArmState.RUNNING and robot.joint_rad > 0.3


@pytest.mark.parametrize("during", ["release", "user stop", "contact", "lost"])
def test_an_armed_arm_that_waits_for_its_first_chunk_is_watched_too(during: str) -> None:
    robot = Robot(dead_man=DeadMan(200 * MS))
    robot.control.hear_dead_man(True, robot.now_ns)
    robot.control.arm(robot.now_ns)
    if during in ("user stop", "lost"):
        robot.arm.fail(ArmMode.USER_STOPPED if during == "user stop" else ArmMode.DISCONNECTED)
    elif during == "contact":
        robot.wrench = np.array([0.0, 0.0, 60.0, 0.0, 0.0, 0.0])
    robot.control.hear_dead_man(during != "release", robot.now_ns)
    robot.run(0.1, answering=False)
    robot.arm.release()
    robot.wrench = np.zeros(6)
    for _ in range(5):
        robot.control.hear_dead_man(True, robot.now_ns)
        robot.run(0.1)
    assert robot.state == (ArmState.HOLDING if during == "release" else ArmState.FAULT)
    assert robot.joint_rad == 0.0
