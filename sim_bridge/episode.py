"""A policy's episode in one process: the runtime objects of the nodes, called one after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.actor import Actor
from policy_server.runtime.adapter import read_adapter
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import BundleError
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import ObservationAssembler
from ros_nodes.franka.settings import GuardSettings
from sim_bridge.arm import GuardedArm
from sim_bridge.asynchronous import AsynchronousConfig, DelayedActor
from sim_bridge.smoothness import MotionRecord, Smoothness
from sim_bridge.task_config import TaskConfig
from sim_bridge.world import World

_GAP_TICKS = 5


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode ended; ``smoothness``: of its motion, where it was asked for."""

    seed: int
    success: bool
    reason: str
    ticks: int
    smoothness: Smoothness | None = None


@dataclass(frozen=True)
class EngineConfig:
    """Where and with how many threads the networks run, the seed of the sampler's noise, how often a chunk is sampled, and
    from how many candidates it is chosen (both None: as the bundle says). ``adapter``: file of one to act with. ``asynchronous``: a
    sampler that takes time, and how the arm moves meanwhile; None: none, and the motion is not judged."""

    provider: str = "cpu"
    threads: int = 1
    noise_seed: int = 0
    replan_every_ticks: int | None = None
    candidates: int | None = None
    adapter: Path | None = None
    asynchronous: AsynchronousConfig | None = None


class PolicyEpisodes:
    """Runs episodes of one bundle in a world, in lockstep."""

    def __init__(self, bundle: Bundle, task: TaskConfig, guard: GuardSettings, engine: EngineConfig) -> None:
        check_bundle_fits(bundle, task)
        spec = bundle.spec
        late = engine.asynchronous
        self._period_ns = spec.period_ns
        self._memory = Memory(
            bundle, provider=engine.provider, threads=engine.threads, max_gap_ns=_GAP_TICKS * spec.period_ns
        )
        self._actor = Actor(
            bundle,
            provider=engine.provider,
            threads=engine.threads,
            noise_seed=engine.noise_seed,
            replan_every_ticks=engine.replan_every_ticks,
            candidates=engine.candidates,
            continuation=late.continuation(spec.period_ns) if late else None,
        )
        self._delayed = DelayedActor(self._actor, late, spec.period_ns) if late else None
        if engine.adapter is not None:
            adapter = read_adapter(engine.adapter)
            self._actor.denoiser.load(adapter)
            self._actor.denoiser.activate(adapter.name)
        self._assembler = ObservationAssembler(spec, camera_skew_ns=0, joint_skew_ns=0)
        self._arm = GuardedArm(guard)
        self._cameras = [camera.name for camera in spec.cameras]
        self._sees_features = bool(spec.features)

    def run(self, world: World, seed: int, on_tick: Callable[[World], None] = lambda world: None) -> EpisodeResult:
        """Reset the world to ``seed`` and act until the episode has ended; ``on_tick`` sees the world before each tick."""
        world.reset(seed)
        self._memory.clear()
        self._actor.clear()
        self._assembler.clear()
        self._arm.latch(world)
        if self._delayed is not None:
            self._delayed.clear()
        motion = MotionRecord(world.set_point, self._period_ns)
        while not world.outcome().done:
            on_tick(world)
            self._tick(world, motion)
        outcome = world.outcome()
        smoothness = motion.smoothness() if self._delayed is not None else None
        return EpisodeResult(seed, outcome.success, outcome.reason, world.tick_count, smoothness)

    def _tick(self, world: World, motion: MotionRecord) -> None:
        stamp_ns = world.time_ns
        self._assembler.add_joints(stamp_ns, *self._state(world))
        for camera in self._cameras:
            self._assembler.add_image(camera, stamp_ns, world.render(camera))
        observation = self._assembler.pop()
        assert observation is not None  # frames and joints bear the same stamp
        context = self._memory.observe(observation)
        if self._delayed is None:
            self._arm.execute(self._actor.answer(context), world)
            return
        chunk = self._delayed.answer(context)
        set_points = self._arm.execute(chunk, world)
        motion.add(chunk, set_points, handed_over=self._delayed.handed_over, leads=self._delayed.leads)

    def _state(self, world: World) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Names and values of the joints and, for a policy that sees them, of the task's features."""
        names, values = world.joint_names, world.joint_positions()
        if self._sees_features:
            names, values = names + world.task.feature_names, np.concatenate([values, world.features()])
        return names, values


def check_bundle_fits(bundle: Bundle, task: TaskConfig) -> None:
    """Raises BundleError when the bundle was trained for another task, rate, other cameras or features than the world has."""
    spec: PolicySpec = bundle.spec
    if spec.task != task.task:
        raise BundleError(
            f"bundle '{bundle.path}' was trained for '{spec.task}', not for '{task.task}': choose the other task or bundle"
        )
    if spec.period_ns != task.period_ns:
        raise BundleError(
            f"bundle '{bundle.path}' runs at {spec.rate_hz} Hz, the task at {task.rate_hz} Hz: set the same rate"
        )
    sizes = {camera.name: (camera.height, camera.width) for camera in task.cameras}
    for camera in spec.cameras:
        wanted = (camera.source_height, camera.source_width)
        if sizes.get(camera.name) != wanted:
            has = ", ".join(f"{name} {height}x{width}" for name, (height, width) in sizes.items()) or "no camera"
            raise BundleError(
                f"bundle '{bundle.path}' needs camera '{camera.name}' {wanted[0]}x{wanted[1]}; the task has {has}: "
                f"change config/tasks/{task.task}.yaml or choose another bundle"
            )
    stated = task.new_task().feature_names
    unknown = [name for name in spec.features if name not in stated]
    if unknown:
        raise BundleError(
            f"bundle '{bundle.path}' reads features that the task does not state: {', '.join(unknown)} "
            f"(it states {', '.join(stated)}): train and export it again"
        )


def world_for(bundle: Bundle, task: TaskConfig) -> World:
    """A world of the task as the bundle sees it: one without cameras draws no pictures and needs no OpenGL."""
    return World(task.new_task(), task.cameras if bundle.spec.cameras else ())
