"""Conducts episodes over the graph: resets it, shows it the world, moves the world by its answers, and writes down what happened."""

import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from policy_server.runtime.clock import NS_PER_S, ns_to_seconds
from policy_server.runtime.errors import PolicyError
from ros_nodes import messages
from sim_bridge.arm import Controllers
from sim_bridge.episode import EpisodeResult
from sim_bridge.fr3 import COMMAND_JOINTS
from sim_bridge.run_files import VIDEO_FILE, EpisodeTrace, VideoWriter, append_result
from sim_bridge.task_config import TaskConfig
from sim_bridge.tasks.task import PHYSICS_STEP_NS, STEPS_PER_TICK
from sim_bridge.trajectory_controller import TrajectoryError
from sim_bridge.world import World

if TYPE_CHECKING:
    from sim_bridge.bridge_node import BridgeNode

CONTROLLERS = ("arm", "gripper")
# Stamp 0 means "no time yet" to ROS, so simulated time begins later.
FIRST_STAMP_NS = NS_PER_S
_ASK_AGAIN_AFTER_S = 1.0
_LATEST_START_NS = NS_PER_S // 2


class GraphTimeoutError(PolicyError):
    """A node of the graph is missing or has stopped answering."""


@dataclass(frozen=True)
class RunConfig:
    """One run of the bridge."""

    task: TaskConfig
    seeds: tuple[int, ...]
    lockstep: bool
    joint_state_hz: float
    answer_timeout_s: float
    video: bool
    output: Path


def conduct(bridge: "BridgeNode", config: RunConfig) -> None:
    """Run every seed's episode. Raises GraphTimeoutError when the graph stops answering."""
    task = config.task
    world = World(task.new_task(), [*task.cameras, task.video])
    video = (
        VideoWriter(config.output / VIDEO_FILE, task.video.height, task.video.width, task.rate_hz)
        if config.video
        else None
    )
    with closing(world), closing(video) if video else nullcontext():
        for number, seed in enumerate(config.seeds, start=1):
            result = _Episode(bridge, config, world, video).run(seed)
            if result is None:
                return
            append_result(config.output, result)
            verdict = "success" if result.success else "failure"
            bridge.say(
                f"episode {number}/{len(config.seeds)} seed {seed}: {verdict} after {result.ticks / task.rate_hz:.1f} s, {result.reason}"
            )


class _Episode:
    def __init__(self, bridge: "BridgeNode", config: RunConfig, world: World, video: VideoWriter | None) -> None:
        self._bridge, self._config, self._world, self._video = bridge, config, world, video
        self._controllers = Controllers()
        self._trace = EpisodeTrace()

    def run(self, seed: int) -> EpisodeResult | None:
        """The episode's result, or None when the run is being stopped."""
        bridge, world = self._bridge, self._world
        world.reset(seed)
        self._controllers.reset(world.set_point)
        bridge.reset_graph(self._config.answer_timeout_s)
        bridge.await_readers(self._config.answer_timeout_s)
        bridge.inbox.clear()
        bridge.newest_context = None
        self._seed = seed
        if self._config.lockstep:
            self._in_lockstep()
        else:
            self._in_real_time()
        if bridge.stopping:
            return None
        if bridge.newest_context is not None:
            self._trace.set_context(messages.image_to_context(bridge.newest_context)[0].rows)
        self._trace.save(self._config.output, seed)
        outcome = world.outcome()
        return EpisodeResult(seed, outcome.success, outcome.reason, world.tick_count)

    def _in_lockstep(self) -> None:
        bridge, world = self._bridge, self._world
        while not (world.outcome().done or bridge.stopping):
            stamp_ns = FIRST_STAMP_NS + world.time_ns
            self._show_tick(stamp_ns)
            self._await_answer(stamp_ns)
            world.advance(self._controllers.upcoming(stamp_ns, STEPS_PER_TICK))

    def _await_answer(self, stamp_ns: int) -> None:
        """Wait for both controllers' trajectories; show the tick again now and then, since frames travel best-effort."""
        bridge, timeout_s = self._bridge, self._config.answer_timeout_s
        deadline_s = time.monotonic() + timeout_s
        while not bridge.stopping:
            answer = bridge.inbox.take_stamped(CONTROLLERS, stamp_ns, _ASK_AGAIN_AFTER_S)
            if answer:
                self._accept(answer, stamp_ns)
                return
            if time.monotonic() > deadline_s:
                raise GraphTimeoutError(
                    f"no arm and gripper trajectory for the tick at {ns_to_seconds(stamp_ns):.1f} s within {timeout_s:.0f} s: "
                    "see the logs of history_node, inference_node and arm_node"
                )
            self._publish_tick(stamp_ns)

    def _in_real_time(self) -> None:
        """Steps on a grid of wall-clock time; frames once per policy tick, joint states in between.

        After the end it goes on for one tick without frames, so that the last one is answered before the reset.
        """
        bridge, world, config = self._bridge, self._world, self._config
        steps = max(1, round(NS_PER_S / config.joint_state_hz / PHYSICS_STEP_NS))
        next_ns = time.time_ns()
        done_steps = 0
        steps_after_end = 0
        while steps_after_end <= STEPS_PER_TICK and not bridge.stopping:
            steps_after_end += steps if world.outcome().done else 0
            pause_ns = next_ns - time.time_ns()
            if pause_ns > 0:
                time.sleep(ns_to_seconds(pause_ns))
            elif -pause_ns > _LATEST_START_NS:
                bridge.get_logger().warning(
                    f"the simulation is {ns_to_seconds(-pause_ns):.2f} s behind real time and goes on from now"
                )
                next_ns = time.time_ns()
            if done_steps % STEPS_PER_TICK < steps and not world.outcome().done:
                self._show_tick(next_ns)
            else:
                bridge.publish_joints(next_ns, world.joint_names, world.joint_positions())
            self._accept(bridge.inbox.take(), next_ns)
            world.advance(self._controllers.upcoming(next_ns, steps))
            done_steps += steps
            next_ns += steps * PHYSICS_STEP_NS

    def _accept(self, answer: dict[str, messages.JointTargets], now_ns: int) -> None:
        controllers = {"arm": self._controllers.arm, "gripper": self._controllers.gripper}
        for name, targets in answer.items():
            try:
                times_ns = targets.times_ns - targets.stamp_ns
                controllers[name].accept(targets.stamp_ns, targets.joints, times_ns, targets.positions, now_ns)
            except TrajectoryError as error:
                self._bridge.get_logger().warning(f"{name} controller refuses a trajectory: {error}")

    def _show_tick(self, stamp_ns: int) -> None:
        world, measured = self._world, self._world.joint_positions()
        time_s = world.tick_count / self._config.task.rate_hz
        self._publish_tick(stamp_ns)
        self._trace.add(time_s, world.set_point, measured[: len(COMMAND_JOINTS)])
        if self._video is not None:
            self._video.add(
                world.render(self._config.task.video.name),
                f"{self._config.task.task}  seed {self._seed}  {time_s:4.1f} s",
            )

    def _publish_tick(self, stamp_ns: int) -> None:
        bridge, world = self._bridge, self._world
        if self._config.lockstep:
            bridge.publish_clock(stamp_ns)
        frames = {camera.name: world.render(camera.name) for camera in self._config.task.cameras}
        bridge.publish_joints(stamp_ns, world.joint_names, world.joint_positions())
        bridge.note_capture(stamp_ns)
        for camera, image in frames.items():
            bridge.publish_image(camera, stamp_ns, image)
