"""One demonstration: the scripted expert drives the guarded arm, and what a policy would see and do is recorded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.recording import EpisodeArrays
from sim_bridge.arm import GuardedArm
from sim_bridge.fr3 import COMMAND_JOINTS
from sim_bridge.task_config import TaskConfig
from sim_bridge.tasks.task import Expert, Outcome
from sim_bridge.world import World

_LOOKAHEAD_STEPS = 2
_NOISE_STREAM = 1


@dataclass(frozen=True)
class DemonstrationConfig:
    """``noise_rad``: largest deviation per tick put on the executed targets, while the expert's own are recorded, so that
    demonstrations show the way back (DART, arXiv 1703.09327). ``settle_ticks`` are recorded after the success.
    """

    noise_rad: float = 0.02
    settle_ticks: int = 5


@dataclass(frozen=True)
class Demonstration:
    """What was recorded and how it ended."""

    arrays: EpisodeArrays
    outcome: Outcome


def demonstrate(
    world: World, arm: GuardedArm, task: TaskConfig, seed: int, config: DemonstrationConfig
) -> Demonstration:
    """Reset the world to ``seed`` and let the expert act until the episode has ended."""
    world.reset(seed)
    arm.latch(world)
    rng = np.random.default_rng([seed, _NOISE_STREAM])
    expert = world.task.expert(knows=True, rng=rng)
    noise_rad = rng.uniform(0, config.noise_rad)
    recorder = _Recorder(task)
    ticks_left = config.settle_ticks
    while ticks_left or not world.outcome().done:
        if world.outcome().done:
            ticks_left -= 1
        plan = plan_ahead(world, expert, arm.guard.positions)
        recorder.add(world, plan[0])
        noise = np.append(rng.normal(0, noise_rad, len(COMMAND_JOINTS) - 1), 0.0)
        arm.execute(
            ActionChunk(world.time_ns, task.period_ns, COMMAND_JOINTS, (plan + noise).astype(np.float32)), world
        )
    return Demonstration(recorder.arrays(), world.outcome())


def plan_ahead(world: World, expert: Expert, set_point: NDArray[np.float64]) -> NDArray[np.float64]:
    """The expert's next targets, float64 (2, 8), the second as if the first had been reached: the guard looks ahead."""
    targets = []
    for _ in range(_LOOKAHEAD_STEPS):
        set_point = expert.action(world, set_point)
        targets.append(set_point)
    return np.stack(targets)


class _Recorder:
    def __init__(self, task: TaskConfig) -> None:
        self._cameras = [camera.name for camera in task.cameras]
        self._stamps_ns: list[int] = []
        self._joints: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._features: list[NDArray[np.float32]] = []
        self._images: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in self._cameras}

    def add(self, world: World, action: NDArray[np.float64]) -> None:
        self._stamps_ns.append(world.time_ns)
        self._joints.append(world.joint_positions()[: len(COMMAND_JOINTS)].astype(np.float32))
        self._actions.append(action.astype(np.float32))
        self._features.append(world.features())
        for name in self._cameras:
            self._images[name].append(world.render(name))

    def arrays(self) -> EpisodeArrays:
        images = {name: np.stack(frames) for name, frames in self._images.items()}
        return EpisodeArrays(
            np.array(self._stamps_ns, np.int64),
            np.stack(self._joints),
            np.stack(self._actions),
            images,
            np.stack(self._features),
        )
