"""Our forward kinematics against MuJoCo's, which reads the arm from another file."""

import numpy as np
import pytest

from ros_nodes.franka.kinematics import arm_pose
from sim_bridge.fr3 import READY_RAD, fr3_spec
from sim_bridge.gl_backend import mujoco


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_lies_where_mujoco_puts_it(seed: int) -> None:
    model = fr3_spec().compile()
    data = mujoco.MjData(model)
    for joints in np.random.default_rng(seed).uniform(-3.0, 3.0, (20, 7)):
        data.qpos[:7] = joints
        mujoco.mj_kinematics(model, data)
        pose = arm_pose(joints.tolist())
        expected = {
            "shoulder": data.body("fr3_link2").xpos,
            "elbow_inner": data.body("fr3_link3").xpos,
            "elbow": data.body("fr3_link4").xpos,
            "wrist": data.body("fr3_link6").xpos,
            "hand_base": data.body("fr3_link7").xpos,
            "flange": data.body("fr3_hand").xpos,
            "tcp": data.site("tcp").xpos,
            "shoulder_axis": data.body("fr3_link2").xmat.reshape(3, 3)[:, 2],
            "elbow_axis": data.body("fr3_link4").xmat.reshape(3, 3)[:, 2],
            "forearm_y": data.body("fr3_link5").xmat.reshape(3, 3)[:, 1],
            "forearm_z": data.body("fr3_link5").xmat.reshape(3, 3)[:, 2],
            "hand_y": data.body("fr3_hand").xmat.reshape(3, 3)[:, 1],
            "hand_z": data.body("fr3_hand").xmat.reshape(3, 3)[:, 2],
        }
        for name, where in expected.items():
            np.testing.assert_allclose(getattr(pose, name), where, atol=1e-9, err_msg=name)


def test_at_ready_the_hand_points_down_in_front_of_the_arm() -> None:
    pose = arm_pose(READY_RAD.tolist())
    np.testing.assert_allclose(pose.hand_z, (0.0, 0.0, -1.0), atol=1e-9)
    np.testing.assert_allclose(pose.tcp, (0.3069, 0.0, 0.4869), atol=1e-3)
