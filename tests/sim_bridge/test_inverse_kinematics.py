"""Hand poses to joint angles and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_bridge.fr3 import HOME_RAD
from sim_bridge.inverse_kinematics import InverseKinematics, UnreachableError
from sim_bridge.reach import MAX_STEP_RAD, HandGoals, is_reachable, nearest_reachable, step_towards
from tests.sim_bridge.test_fr3 import LOWER_RAD, UPPER_RAD, tcp_by_table

KINEMATICS = InverseKinematics()

radii_m = st.floats(0.30, 0.72)
angles_rad = st.floats(-0.9, 0.9)
heights_m = st.floats(0.01, 0.35)
yaws_rad = st.floats(-np.pi / 4, np.pi / 4)


@settings(max_examples=60, deadline=None)
@given(radii_m, angles_rad, heights_m, yaws_rad)
def test_the_hand_comes_to_the_pose_pointing_down(radius_m, angle_rad, height_m, yaw_rad):
    position_m = np.array([radius_m * np.cos(angle_rad), radius_m * np.sin(angle_rad), height_m])
    joints_rad = KINEMATICS.solve(position_m, yaw_rad)
    pose = tcp_by_table(joints_rad)
    np.testing.assert_allclose(pose[:3, 3], position_m, atol=5e-4)
    np.testing.assert_allclose(pose[:3, 2], [0, 0, -1], atol=5e-3)
    np.testing.assert_allclose(pose[:3, 0], [np.cos(yaw_rad), np.sin(yaw_rad), 0], atol=5e-3)
    assert (joints_rad > LOWER_RAD).all() and (joints_rad < UPPER_RAD).all()


def test_the_same_question_has_the_same_answer_whatever_was_asked_before():
    position_m = np.array([0.5, 0.1, 0.05])
    first = KINEMATICS.solve(position_m, 0.3)
    KINEMATICS.solve(np.array([0.4, -0.3, 0.2]), -0.5)
    np.testing.assert_array_equal(KINEMATICS.solve(position_m, 0.3), first)
    np.testing.assert_array_equal(InverseKinematics().solve(position_m, 0.3), first)


def test_a_pose_out_of_reach_is_refused_by_name():
    with pytest.raises(UnreachableError, match=r"1\.5"):
        KINEMATICS.solve(np.array([1.5, 0.0, 0.2]), 0.0)


def test_forward_and_inverse_agree_at_home():
    np.testing.assert_allclose(KINEMATICS.hand_position(HOME_RAD), [0.36, 0.0, 0.30], atol=1e-3)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-1, 1))
def test_the_nearest_reachable_place_is_reachable_and_kept(x, y, z):
    place_m = nearest_reachable(np.array([x, y, z]))
    np.testing.assert_allclose(nearest_reachable(place_m), place_m, atol=1e-12)
    if is_reachable(np.array([x, y, z])):
        np.testing.assert_array_equal(place_m[:2], [x, y])


def test_a_flung_object_does_not_stop_an_expert():
    assert np.isfinite(HandGoals().goal(np.array([0.9, -0.4, 0.8]), 0.2, 0.04)).all()


joint_values = st.lists(st.floats(-2, 2), min_size=7, max_size=7)


@given(joint_values, joint_values, st.floats(0, 0.04), st.floats(0, 0.04))
def test_a_step_is_bounded_and_straight(start, goal, finger_m, finger_goal_m):
    set_point, goal_point = np.array([*start, finger_m]), np.array([*goal, finger_goal_m])
    step = step_towards(set_point, goal_point) - set_point
    way = goal_point - set_point
    assert np.abs(step[:7]).max() <= MAX_STEP_RAD + 1e-12
    np.testing.assert_allclose(step[:7] * np.abs(way[:7]).max(), way[:7] * np.abs(step[:7]).max(), atol=1e-9)


@given(joint_values, joint_values)
def test_steps_arrive(start, goal):
    set_point, goal_point = np.array([*start, 0.0]), np.array([*goal, 0.04])
    for _ in range(100):
        set_point = step_towards(set_point, goal_point)
    np.testing.assert_allclose(set_point, goal_point, atol=1e-6)
