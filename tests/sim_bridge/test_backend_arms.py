"""The same chunks through every backend, in simulated time."""

import numpy as np
import pytest

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.resources import resource
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.backend_arms import ARMS, ControlledArm
from sim_bridge.fr3 import COMMAND_JOINTS
from sim_bridge.tasks.registry import task_by_name
from sim_bridge.world import World

PERIOD_NS = NS_PER_S // 10


@pytest.mark.parametrize("name", ARMS)
def test_chunks_bring_the_worlds_arm_where_they_lead(name: str) -> None:
    world = World(task_by_name("reach_cued"), [])
    arm = ControlledArm(load_guard_settings(resource("config/arm.yaml")), ARMS[name])
    arm.latch(world)
    start = world.set_point
    goal = start + np.array([0.1, 0.08, -0.1, 0.1, 0.1, -0.08, 0.15, 0.0])
    for tick in range(20):
        share = np.clip((tick + 1 + np.arange(12)) / 10, 0.0, 1.0)[:, None]
        positions = (start + share * (goal - start)).astype(np.float32)
        arm.execute(ActionChunk(world.time_ns, PERIOD_NS, COMMAND_JOINTS, positions), world)
    np.testing.assert_allclose(world.joint_positions()[:7], goal[:7], atol=0.02)
    world.close()
