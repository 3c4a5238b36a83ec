"""A tick of this project's runtime, for measuring: newest frames in, action chunk out."""

import dataclasses
from collections.abc import Callable

import numpy as np

from policy_server.runtime.actor import Actor
from policy_server.runtime.bundle import Bundle
from policy_server.runtime.memory import Memory
from policy_server.runtime.observation import Observation
from random_bundle import JOINTS


def own_tick(longest: Bundle, length: int, threads: int, provider: str = "cpu") -> Callable[[], None]:
    """One tick of a policy whose history is full. The graphs take any length, so one export serves all."""
    bundle = shortened(longest, length)
    spec = bundle.spec
    memory = Memory(bundle, provider=provider, threads=threads, max_gap_ns=10 * spec.period_ns)
    actor = Actor(bundle, provider=provider, threads=threads, replan_every_ticks=1)
    observation = any_observation(bundle)
    count = 0

    def tick() -> None:
        nonlocal count
        actor.answer(memory.observe(dataclasses.replace(observation, stamp_ns=count * spec.period_ns)))
        count += 1

    for _ in range(length):
        memory.observe(dataclasses.replace(observation, stamp_ns=count * spec.period_ns))
        count += 1
    return tick


def shortened(longest: Bundle, length: int) -> Bundle:
    """The same bundle with a context of ``length`` observations."""
    spec = longest.spec
    history = dataclasses.replace(spec.history, offsets_ticks=spec.history.offsets_ticks[-length:])
    manifest = dataclasses.replace(longest.manifest, policy=dataclasses.replace(spec, history=history))
    return dataclasses.replace(longest, manifest=manifest)


def any_observation(bundle: Bundle) -> Observation:
    """Noise for pictures, an arm at zero; stamped 0."""
    generator = np.random.default_rng(0)
    images = {
        camera.name: generator.integers(0, 256, (camera.source_height, camera.source_width, 3), dtype=np.uint8)
        for camera in bundle.spec.cameras
    }
    return Observation(0, images, np.zeros(len(JOINTS), np.float32))
