"""The arm's model against Franka's published table, and its behaviour under load."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_bridge.fr3 import ARM_JOINTS, FINGER_JOINTS, HOME_RAD, JOINT_NAMES, READY_RAD, fr3_spec
from sim_bridge.gl_backend import mujoco
from sim_bridge.set_points import ramp
from sim_bridge.tasks.registry import task_by_name
from sim_bridge.world import World

LOWER_RAD = np.array([-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159])
UPPER_RAD = np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159])
TORQUE_NM = np.array([87, 87, 87, 87, 12, 12, 12])

# Craig's convention: a and alpha of the link before, then d and theta of the joint.
DH_A_M = (0, 0, 0, 0.0825, -0.0825, 0, 0.088)
DH_D_M = (0.333, 0, 0.316, 0, 0.384, 0, 0)
DH_ALPHA_RAD = (0, -np.pi / 2, np.pi / 2, np.pi / 2, -np.pi / 2, np.pi / 2, np.pi / 2)
FLANGE_M = 0.107
TCP_M = 0.1034


def turn_z(angle_rad):
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def link(a_m, alpha_rad, d_m, theta_rad):
    c, s = np.cos(alpha_rad), np.sin(alpha_rad)
    before = np.array([[1, 0, 0, a_m], [0, c, -s, -s * d_m], [0, s, c, c * d_m], [0, 0, 0, 1]])
    return before @ turn_z(theta_rad)


def tcp_by_table(joints_rad):
    pose = np.eye(4)
    for a_m, alpha_rad, d_m, theta_rad in zip(DH_A_M, DH_ALPHA_RAD, DH_D_M, joints_rad, strict=True):
        pose = pose @ link(a_m, alpha_rad, d_m, theta_rad)
    hand = link(0, 0, FLANGE_M, -np.pi / 4)
    return pose @ hand @ link(0, 0, TCP_M, 0)


@pytest.fixture(scope="module")
def model():
    return fr3_spec().compile()


@settings(max_examples=50, deadline=None)
@given(share=st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_tcp_is_where_the_dh_table_puts_it(model, share):
    joints_rad = LOWER_RAD + np.array(share) * (UPPER_RAD - LOWER_RAD)
    data = mujoco.MjData(model)
    data.qpos[:7] = joints_rad
    mujoco.mj_kinematics(model, data)
    expected = tcp_by_table(joints_rad)
    np.testing.assert_allclose(data.site("tcp").xpos, expected[:3, 3], atol=1e-9)
    np.testing.assert_allclose(data.site("tcp").xmat.reshape(3, 3), expected[:3, :3], atol=1e-9)


def test_joints_have_franka_names_order_and_limits(model):
    assert [model.joint(i).name for i in range(model.njnt)] == list(JOINT_NAMES)
    np.testing.assert_allclose(
        [model.joint(name).range for name in ARM_JOINTS], np.column_stack([LOWER_RAD, UPPER_RAD])
    )
    np.testing.assert_allclose([model.joint(name).range for name in FINGER_JOINTS], [[0, 0.04]] * 2)


def test_torques_are_limited_as_on_the_arm(model):
    ranges = [model.actuator(name).forcerange for name in ARM_JOINTS]
    np.testing.assert_allclose(ranges, np.column_stack([-TORQUE_NM, TORQUE_NM]))


@pytest.mark.parametrize("pose_rad", [READY_RAD, HOME_RAD], ids=["ready", "home"])
def test_known_poses_are_within_limits_and_free_of_contact(model, pose_rad):
    data = mujoco.MjData(model)
    data.qpos[:7] = pose_rad
    mujoco.mj_forward(model, data)
    assert (pose_rad > LOWER_RAD).all() and (pose_rad < UPPER_RAD).all()
    assert data.ncon == 0


def test_the_arm_collides_with_itself(model):
    data = mujoco.MjData(model)
    data.qpos[:7] = [0, -1.7, 0, -3.0, 0, 0.6, 0]
    mujoco.mj_forward(model, data)
    assert data.ncon > 0


@pytest.fixture(scope="module")
def world():
    return World(task_by_name("reach_cued"), [])


def test_the_arm_holds_its_pose_against_gravity(world):
    world.reset(1)
    start = world.set_point
    world.advance(np.repeat(start[None], 500, axis=0))
    np.testing.assert_allclose(world.joint_positions()[:7], start[:7], atol=1e-4)


def test_the_arm_follows_slow_set_points_within_2_mrad(world):
    world.reset(1)
    for sign in (1, 1, 1, -1, -1, -1):
        start = world.set_point
        goal = start + sign * np.array([0.03, 0.03, -0.03, 0.03, 0.03, -0.03, 0.03, 0.0])
        world.advance(ramp(start, goal))
        assert np.abs(world.joint_positions()[:7] - goal[:7]).max() < 2e-3


def test_both_fingers_follow_the_finger_set_point(world):
    world.reset(1)
    for finger_m in (0.02, 0.04, 0.01):
        goal = world.set_point
        goal[7] = finger_m
        world.advance(ramp(world.set_point, goal, 100))
        world.advance(np.repeat(goal[None], 100, axis=0))
        np.testing.assert_allclose(world.joint_positions()[7:], finger_m, atol=5e-4)
