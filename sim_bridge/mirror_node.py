"""mirror_node: MuJoCo's cameras for an arm that runs elsewhere, such as the loopback robot.

The world's arm follows the joint states that the robot reports; what else is in the world (lamps, cubes, the task's course
of events) is simulated here. So a policy sees the arm that it moves, and the task can be judged. Between two episodes the
node leads the arm back to where episodes start, by action chunks of its own, which pass the guard like the policy's.
"""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.clock import NS_PER_S, ns_to_seconds
from policy_server.runtime.errors import PolicyError
from ros_nodes import diagnostics, messages, qos, topics
from ros_nodes.bundle_checks import check_topics_carry
from ros_nodes.diagnostics import Report
from ros_nodes.lifecycle import ManagedNode, one_line, run_node
from ros_nodes.parameters import ParameterSpec, required
from sim_bridge.episode import EpisodeResult, check_bundle_fits
from sim_bridge.fr3 import COMMAND_JOINTS
from sim_bridge.run_files import append_result
from sim_bridge.set_points import ramp
from sim_bridge.task_config import load_task_config
from sim_bridge.tasks.task import PHYSICS_STEP_NS, STEPS_PER_TICK
from sim_bridge.way_home import WayHome
from sim_bridge.world import World

NAME = "mirror_node"
PARAMETERS = (
    ParameterSpec("bundle", "", "folder of the policy's bundle; checked against the task before the first episode"),
    ParameterSpec("task", "", "task name, as in config/tasks"),
    ParameterSpec("episodes", 0, "number of episodes, one per seed; 0 goes on until the node is ended", minimum=0),
    ParameterSpec("seed", 0, "seed of the first episode", minimum=0),
    ParameterSpec("output_dir", "runs/robot-sim", "folder for the results"),
)
_FORGET_SERVICES = ("history_node/reset", "inference_node/reset")
_STEPS = 5
_STEP_NS = _STEPS * PHYSICS_STEP_NS
_LATEST_START_NS = NS_PER_S // 2
_HOME_PATIENCE_S = 60.0
_SERVICE_S = 20.0


class MirrorError(PolicyError):
    """The robot that is to be mirrored is silent, does not come home, or a node of the graph does not answer."""


class MirrorNode(ManagedNode):
    """Follows ``joint_states`` and publishes the pictures."""

    def __init__(self) -> None:
        super().__init__(NAME, PARAMETERS)

    def open(self) -> None:
        values = self.values
        self._task = load_task_config(required(values, "task"))
        bundle = load_bundle(required(values, "bundle"))
        check_topics_carry(bundle)
        check_bundle_fits(bundle, self._task)
        self._bundle_hash = bundle.hash
        self._output = Path(values["output_dir"])
        self._output.mkdir(parents=True, exist_ok=True)
        self._state: JointState | None = None
        self._stopping = threading.Event()
        self._doing = "waits for the robot's joint states"
        self._image_publishers = {
            camera.name: self.advertise(Image, topics.camera_image(camera.name), qos.CAMERA_IMAGE)
            for camera in self._task.cameras
        }
        self._chunk_publisher = self.advertise(JointTrajectory, topics.ACTION_CHUNK, qos.ACTION_CHUNK)
        self._forget_clients: dict[str, Any] = {name: self.create_client(Trigger, name) for name in _FORGET_SERVICES}

    def start(self) -> None:
        self._stopping.clear()
        self.subscribe(JointState, topics.JOINT_STATES, qos.JOINT_STATES, self._take_joint_state)
        self.subscribe(JointTrajectory, topics.ACTION_CHUNK, qos.ACTION_CHUNK, self._take_chunk)
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        thread = getattr(self, "_thread", None)
        if thread is None:
            return
        self._stopping.set()
        if thread is not threading.current_thread():
            thread.join()

    def reports(self) -> list[Report]:
        return [Report("mirror", diagnostics.OK, self._doing, {})]

    def _take_joint_state(self, message: JointState) -> None:
        self._state = message

    def _take_chunk(self, message: JointTrajectory) -> None:
        # After a swap of bundles the guard follows the new one's chunks only, and those of the way home must be among them.
        self._bundle_hash = message.header.frame_id

    def _run(self) -> None:
        try:
            world = World(self._task.new_task(), [*self._task.cameras])  # drawn in this thread only
            self._episodes(world)
            world.close()
        except Exception as error:
            self.fail(error)
            return
        if not self._stopping.is_set():
            self.finished.set()

    def _episodes(self, world: World) -> None:
        wanted, first = self.values["episodes"], self.values["seed"]
        number = 0
        while not self._stopping.is_set() and (number < wanted or wanted == 0):
            number, seed = number + 1, first + number
            world.reset(seed)
            self._go_to_start(world)
            self._forget()
            self._doing = f"episode {number}, seed {seed}"
            self._in_real_time(world)
            if self._stopping.is_set():
                return
            outcome = world.outcome()
            append_result(self._output, EpisodeResult(seed, outcome.success, outcome.reason, world.tick_count))
            verdict = "success" if outcome.success else "failure"
            of = f"/{wanted}" if wanted else ""
            seconds = world.tick_count / self._task.rate_hz
            print(f"episode {number}{of} seed {seed}: {verdict} after {seconds:.1f} s, {outcome.reason}", flush=True)

    def _go_to_start(self, world: World) -> None:
        """Lead the arm to where the world's arm stands. Raises MirrorError when it does not get there."""
        self._doing = "leads the arm to where the episode starts"
        deadline_s = time.monotonic() + _HOME_PATIENCE_S
        way: WayHome | None = None
        while not self._stopping.is_set():
            measured = self._measured()
            if measured is not None:
                way = way or WayHome(measured[1], world.set_point, time.time_ns())
                if way.has_arrived(measured[1], time.time_ns()):
                    return
                chunk = way.chunk(time.time_ns())
                self._chunk_publisher.publish(messages.chunk_to_trajectory(chunk, self._bundle_hash))
            if time.monotonic() > deadline_s:
                raise MirrorError(
                    f"arm and gripper are not where the episode starts after {_HOME_PATIENCE_S:.0f} s: is it armed, and does "
                    "arm_node follow? see its /diagnostics"
                    if measured is not None
                    else f"no joint states for {_HOME_PATIENCE_S:.0f} s: is arm_node active and the robot reachable?"
                )
            time.sleep(ns_to_seconds(self._task.period_ns))

    def _in_real_time(self, world: World) -> None:
        """Follow the robot on a grid of wall-clock time to the episode's end, with a frame per policy tick."""
        next_ns, done_steps, shown_ns = time.time_ns(), 0, 0
        is_due = False
        while not (world.outcome().done or self._stopping.is_set()):
            pause_ns = next_ns - time.time_ns()
            if pause_ns > 0:
                time.sleep(ns_to_seconds(pause_ns))
            elif -pause_ns > _LATEST_START_NS:
                next_ns = time.time_ns()
            measured = self._measured()
            if measured is None:
                continue
            stamp_ns, joints = measured
            world.advance(ramp(world.set_point, joints, _STEPS))
            is_due = is_due or done_steps % STEPS_PER_TICK < _STEPS
            # A frame is stamped as the joints that it shows: without newer ones it waits.
            if is_due and stamp_ns > shown_ns:
                self._show(world, stamp_ns)
                is_due, shown_ns = False, stamp_ns
            done_steps += _STEPS
            next_ns += _STEP_NS

    def _show(self, world: World, stamp_ns: int) -> None:
        for camera, publisher in self._image_publishers.items():
            publisher.publish(messages.rgb_to_image(world.render(camera), stamp_ns, camera))

    def _measured(self) -> tuple[int, NDArray[np.float64]] | None:
        """Stamp and positions, float64 (8,), of the newest joint state; None before the first."""
        state = self._state
        if state is None:
            return None
        return messages.stamp_to_ns(state.header.stamp), messages.joint_positions(state, COMMAND_JOINTS)

    def _forget(self) -> None:
        """Make history and inference begin a new episode. Raises MirrorError when one does not answer."""
        for name, client in self._forget_clients.items():
            if not client.wait_for_service(_SERVICE_S):
                raise MirrorError(f"service {name} is not there after {_SERVICE_S:.0f} s: is the node running?")
            done = threading.Event()
            client.call_async(Trigger.Request()).add_done_callback(lambda _, done=done: done.set())
            if not done.wait(_SERVICE_S):
                self.get_logger().warning(one_line(MirrorError(f"service {name} did not answer")))


def main() -> int:
    return run_node(NAME, MirrorNode)


if __name__ == "__main__":
    raise SystemExit(main())
