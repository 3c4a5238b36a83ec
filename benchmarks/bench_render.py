"""Camera frames per second of the MuJoCo world: ``python benchmarks/bench_render.py --json FILE``."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import trange

from machine import describe_machine
from policy_server.runtime.command import run_command
from sim_bridge.renderer import CameraView
from sim_bridge.set_points import ramp
from sim_bridge.tasks.registry import task_by_name
from sim_bridge.world import World

CAMERAS = ("front", "wrist")
WANTED_FRAMES_PER_S = 300


def measure(task: str, size: int, frames: int) -> dict[str, float]:
    """Frames per second of each camera, drawn one after the other while the expert plays; physics is not counted."""
    world = World(task_by_name(task), [CameraView(name, size, size) for name in CAMERAS])
    spent_s = dict.fromkeys(CAMERAS, 0.0)
    expert = world.task.expert(True, np.random.default_rng(1))
    for _ in trange(frames, desc=f"{task} {size}x{size}", unit="frame"):
        for name in CAMERAS:
            start_s = time.perf_counter()
            world.render(name)
            spent_s[name] += time.perf_counter() - start_s
        world.advance(ramp(world.set_point, expert.action(world, world.set_point)))
    world.close()
    return {name: round(frames / seconds, 1) for name, seconds in spent_s.items()}


def main() -> int:
    arguments = _parse()
    rates = measure(arguments.task, arguments.size, arguments.frames)
    overall = round(len(rates) / sum(1 / rate for rate in rates.values()), 1)
    result = {
        "frames_per_s": overall,
        "wanted_frames_per_s": WANTED_FRAMES_PER_S,
        "cameras": rates,
        "task": arguments.task,
        "height": arguments.size,
        "width": arguments.size,
        "machine": describe_machine(),
        "mujoco_gl": os.environ.get("MUJOCO_GL", ""),
    }
    print(f"{overall} frames/s at {arguments.size}x{arguments.size}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0 if overall >= WANTED_FRAMES_PER_S else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_render.py",
        description=f"Camera frames per second; status 1 below {WANTED_FRAMES_PER_S}.",
        epilog="example: python benchmarks/bench_render.py --json runs/render.json",
    )
    parser.add_argument("--task", default="reach_cued", help="task name, as in config/tasks (default reach_cued)")
    parser.add_argument("--size", type=int, default=96, help="height and width in pixels (default 96)")
    parser.add_argument("--frames", type=int, default=300, help="frames of each camera (default 300)")
    parser.add_argument("--json", type=Path, help="write the result here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
