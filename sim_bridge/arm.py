"""The arm's half of the graph in one process: guard, trajectory controllers, world. What ``arm_node`` and the bridge do by message."""

import contextlib

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from ros_nodes.franka.guard import ChunkRefused, Guard
from ros_nodes.franka.set_points import SetPoints
from ros_nodes.franka.settings import GuardSettings
from sim_bridge.fr3 import ARM_JOINTS, COMMAND_JOINTS
from sim_bridge.tasks.task import PHYSICS_STEP_NS, STEPS_PER_TICK
from sim_bridge.trajectory_controller import TrajectoryController
from sim_bridge.world import World

GRIPPER_JOINTS = COMMAND_JOINTS[len(ARM_JOINTS) :]


class Controllers:
    """The arm's and the gripper's trajectory controllers, as one source of set-points (8 columns) for the world."""

    def __init__(self) -> None:
        self.arm = TrajectoryController(ARM_JOINTS, PHYSICS_STEP_NS)
        self.gripper = TrajectoryController(GRIPPER_JOINTS, PHYSICS_STEP_NS)

    def reset(self, positions: NDArray[np.float64]) -> None:
        """Hold ``positions``, float64 (8,), rad and m."""
        self.arm.reset(positions[: len(ARM_JOINTS)])
        self.gripper.reset(positions[len(ARM_JOINTS) :])

    def upcoming(self, now_ns: int, steps: int) -> NDArray[np.float64]:
        """The next physics steps' set-points, float64 (steps, 8)."""
        return np.concatenate([self.arm.upcoming(now_ns, steps), self.gripper.upcoming(now_ns, steps)], axis=1)


class GuardedArm:
    """Executes action chunks in a world, tick by tick, through the guard."""

    def __init__(self, settings: GuardSettings) -> None:
        self.guard = Guard(settings)
        self._controllers = Controllers()

    def latch(self, world: World) -> None:
        """Take over where the world's arm stands, at the start of an episode."""
        positions = world.joint_positions()[: len(COMMAND_JOINTS)]
        self.guard.latch(positions, world.time_ns)
        self._controllers.reset(world.set_point)

    def execute(self, chunk: ActionChunk | None, world: World) -> SetPoints:
        """Follow ``chunk`` for one policy tick; one that the guard refuses is counted there, and the motion goes on without it, as it
        does where there is none. Returns the tick's set-points."""
        now_ns = world.time_ns
        if chunk is not None:
            with contextlib.suppress(ChunkRefused):
                self.guard.accept(chunk, now_ns)
        set_points = self.guard.advance(now_ns + STEPS_PER_TICK * PHYSICS_STEP_NS)
        self._send(set_points, self.guard.braking_tail(), now_ns)
        world.advance(self._controllers.upcoming(now_ns, STEPS_PER_TICK))
        return set_points

    def _send(self, set_points: SetPoints, tail: SetPoints, now_ns: int) -> None:
        times_ns = np.concatenate([set_points.times_ns, tail.times_ns]) - now_ns
        positions = np.concatenate([set_points.positions, tail.positions])
        arm = len(ARM_JOINTS)
        self._controllers.gripper.accept(now_ns, GRIPPER_JOINTS, times_ns, positions[:, arm:], now_ns)
        self._controllers.arm.accept(now_ns, ARM_JOINTS, times_ns, positions[:, :arm], now_ns)
