"""franky's motions, emulated: what the robot would see."""

import numpy as np

from policy_server.runtime.clock import NS_PER_MS
from policy_server.runtime.resources import resource
from ros_nodes.franka.backends.franky_settings import FrankySettings
from ros_nodes.franka.motion_planner import MotionPlanner
from ros_nodes.franka.set_points import JointMotion, SetPoints
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.fr3 import HOME_RAD
from sim_bridge.franky_emulation import STEP_S, EmulatedVelocityMotions

GUARD = load_guard_settings(resource("config/arm.yaml"))
SETTINGS = FrankySettings("emulated")


def jumping_set_points(seconds: float) -> SetPoints:
    """As hard as the guard allows: its targets jump."""
    planner, random = MotionPlanner(GUARD), np.random.Generator(np.random.PCG64(5))
    motions, target = [JointMotion.at_rest(np.append(HOME_RAD, 0.04))], np.append(HOME_RAD, 0.04)
    for row in range(round(seconds * 100)):
        if row % 40 == 0:
            target = np.append(HOME_RAD + random.uniform(-0.3, 0.3, 7), 0.04)
        motions.append(planner.chase(motions[-1], target, np.zeros(8)).motion)
    return SetPoints.of([row * 10 * NS_PER_MS for row in range(len(motions))], motions, 8, "running")


def commands_for(points: SetPoints, milliseconds: int, *, silent_from_ms: int = 10**9) -> np.ndarray:
    """Positions (milliseconds, 7) with a takeover every 20 ms until the silence begins."""
    motions = EmulatedVelocityMotions(GUARD.limits, SETTINGS, HOME_RAD)
    commands = []
    for now_ms in range(milliseconds):
        if now_ms % 20 == 0 and now_ms < silent_from_ms:
            motions.take_over(points, now_ms * NS_PER_MS)
        commands.append(motions.step())
    return np.array(commands)


def test_the_hardest_motion_of_the_guard_stays_far_from_the_robots_limits() -> None:
    points = jumping_set_points(2.0)
    velocities = np.diff(commands_for(points, 1900), axis=0) / STEP_S
    jerks = np.diff(velocities, n=2, axis=0) / STEP_S**2
    assert np.abs(jerks).max() < 0.5 * GUARD.limits.jerk[:7].min()
    assert np.abs(np.diff(velocities, axis=0) / STEP_S).max() <= GUARD.limits.acceleration[:7].min()
    assert (np.abs(velocities).max(axis=0) < GUARD.limits.velocity[:7]).all()


def test_the_set_points_are_followed_within_millimetres_of_arc() -> None:
    points = jumping_set_points(2.0)
    commands = commands_for(points, 1900)
    np.testing.assert_allclose(commands[::10], points.positions[:190, :7], atol=0.02)


def test_in_a_silence_the_arm_brakes_and_holds() -> None:
    points = jumping_set_points(2.0)
    commands = commands_for(points, 1900, silent_from_ms=1000)
    velocities = np.diff(commands, axis=0) / STEP_S
    assert np.abs(velocities[995]).max() > 0.2, "the arm did not move when the silence began"
    assert np.abs(np.diff(velocities, n=2, axis=0) / STEP_S**2).max() < 0.5 * GUARD.limits.jerk[:7].min()
    assert np.abs(velocities[1400:]).max() < 1e-9
