"""Random windows per second from a recorded dataset: ``python benchmarks/bench_windows.py --json FILE``.

A window is 64 consecutive ticks of two 96x96 cameras. The same windows are read from the arrays of the dataset, which are
memory-mapped and not decoded, and from the MP4 files of its LeRobot export. The files stay in the page cache in both cases.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from machine import describe_machine
from policy_server.dataset.lerobot.exporting import ExportOptions, export_lerobot
from policy_server.dataset.lerobot.layout import IMAGES, read_info
from policy_server.dataset.lerobot.reading import Entry, read_entries
from policy_server.dataset.video import CODECS, read_frames
from policy_server.runtime.command import run_command
from policy_server.runtime.errors import DatasetError
from policy_server.runtime.recording import (
    DATASET_SCHEMA,
    CameraShape,
    DatasetInfo,
    EpisodeArrays,
    create_dataset,
    list_episodes,
    read_dataset_info,
    read_episode,
    read_episode_info,
    write_episode,
)

STEPS = 64
SIZE = 96
RATE_HZ = 10.0
JOINTS = tuple(f"joint{i}" for i in range(1, 9))

Window = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Place:
    """Where a window lies: the episode and its first tick."""

    episode: int
    start: int


def generate(folder: Path, episodes: int, ticks: int) -> Path:
    """A dataset of two cameras with a disc that moves before a shaded background, as a camera above a table sees one."""
    cameras = tuple(CameraShape(name, SIZE, SIZE) for name in ("front", "wrist"))
    create_dataset(folder, DatasetInfo(DATASET_SCHEMA, "windows", RATE_HZ, cameras, JOINTS, JOINTS))
    for seed in tqdm(range(episodes), desc="generating", unit="episode"):
        joints = np.zeros((ticks, len(JOINTS)), np.float32)
        stamps_ns = 10**9 + (np.arange(ticks) * 10**9 / RATE_HZ).astype(np.int64)
        images = {camera.name: _film(seed, number, ticks) for number, camera in enumerate(cameras)}
        arrays = EpisodeArrays(stamps_ns, joints, joints, images, np.empty((ticks, 0), np.float32))
        write_episode(folder, f"episode_{seed:07d}", arrays, seed=seed, success=True, reason="")
    return folder


def _film(seed: int, camera: int, ticks: int) -> NDArray[np.uint8]:
    generator = np.random.default_rng((seed, camera))
    y, x = np.mgrid[:SIZE, :SIZE]
    background = np.stack([90 + x / 3, 100 + y / 4, 110 + (x + y) / 6], axis=-1)
    background += generator.normal(0, 4, background.shape)  # a texture that stays
    colour, phase = generator.uniform(0, 255, 3), generator.uniform(0, 6, 2)
    film = np.empty((ticks, SIZE, SIZE, 3), np.uint8)
    for tick in range(ticks):
        centre = 48 + 30 * np.sin(0.07 * tick + phase)
        disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 120
        film[tick] = np.where(disc[..., None], colour, background).clip(0, 255)
    return film


def from_arrays(dataset: Path, names: list[str]) -> Callable[[Place], Window]:
    """A reader of windows from the memory-mapped arrays."""
    episodes = [read_episode(dataset, name, verify=False).images for name in names]

    def read(place: Place) -> Window:
        chosen = slice(place.start, place.start + STEPS)
        return {camera: np.array(images[chosen]) for camera, images in episodes[place.episode].items()}

    return read


def from_videos(entries: list[Entry], rate_hz: float) -> Callable[[Place], Window]:
    """A reader of windows that decodes them out of the MP4 files of a LeRobot dataset."""

    def read(place: Place) -> Window:
        window = {}
        for key, (file, start_s) in entries[place.episode].videos.items():
            frames = list(read_frames(file, start_s + place.start / rate_hz, STEPS, rate_hz))
            window[key.removeprefix(IMAGES)] = np.stack(frames)
        return window

    return read


def draw_places(lengths: list[int], count: int) -> list[Place]:
    """Windows at random, the same ones every time; episodes that are too short have none."""
    long = [episode for episode, length in enumerate(lengths) if length >= STEPS]
    if not long:
        raise DatasetError(f"no episode has {STEPS} ticks: choose another dataset or more --ticks")
    generator = np.random.default_rng(0)
    chosen = [int(episode) for episode in generator.choice(long, count)]
    return [Place(episode, int(generator.integers(0, lengths[episode] - STEPS + 1))) for episode in chosen]


def windows_per_s(read: Callable[[Place], Window], places: list[Place], what: str) -> float:
    """One over the median time of a window, so that other work on the machine counts for little."""
    times_s = []
    for place in tqdm(places, desc=what, unit="window"):
        start_s = time.perf_counter()
        read(place)
        times_s.append(time.perf_counter() - start_s)
    return 1 / float(np.median(times_s))


def measure(dataset: Path, folder: Path, codec: str, windows: int, decoded: int) -> dict[str, object]:
    """Both rates, on a dataset whose export is written into ``folder``."""
    info = read_dataset_info(dataset)
    names = list_episodes(dataset)
    places = draw_places([read_episode_info(dataset, name).ticks for name in names], windows)
    arrays = from_arrays(dataset, names)
    mapped_rate = windows_per_s(arrays, places, "memory-mapped")
    export_lerobot(dataset, folder / "lerobot", ExportOptions(codec=codec))
    entries = read_entries(folder / "lerobot", read_info(folder / "lerobot"))
    videos = from_videos(entries, info.rate_hz)
    loss = _difference(arrays(places[0]), videos(places[0]))
    decoded_rate = windows_per_s(videos, places[:decoded], "decoded")
    return {
        "windows_per_s": round(mapped_rate, 1),
        "decoded_windows_per_s": round(decoded_rate, 2),
        "memmap_over_decoded": round(mapped_rate / decoded_rate, 1),
        "steps": STEPS,
        "cameras": {camera.name: [camera.height, camera.width] for camera in info.cameras},
        "window_mb": round(sum(image.nbytes for image in arrays(places[0]).values()) / 1e6, 2),
        "codec": codec,
        "mean_difference_levels": round(loss, 2),
        "episodes": len(entries),
        "ticks": sum(entry.length for entry in entries),
    }


def _difference(one: Window, other: Window) -> float:
    """Mean difference of two readings of a window, of 255 levels: small if both read the same frames."""
    return float(np.mean([np.abs(one[camera].astype(int) - other[camera]).mean() for camera in one]))


def main() -> int:
    arguments = _parse()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = arguments.dataset or generate(folder / "data", arguments.episodes, arguments.ticks)
        result = measure(dataset, folder, arguments.codec, arguments.windows, arguments.decoded_windows)
    print(
        f"{result['windows_per_s']} windows/s memory-mapped, {result['decoded_windows_per_s']} decoded: "
        f"{result['memmap_over_decoded']} times as many"
    )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(
            json.dumps(result | {"machine": describe_machine()}, indent=1) + "\n", encoding="utf-8"
        )
        print(f"results are in {arguments.json}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_windows.py",
        description=f"Random windows of {STEPS} ticks per second: memory-mapped arrays against decoding the exported MP4.",
        epilog="example: python benchmarks/bench_windows.py --json runs/bench/windows.json",
    )
    parser.add_argument("--dataset", type=Path, help="a recorded dataset (default: one is generated)")
    parser.add_argument("--episodes", type=int, default=20, help="of the generated dataset (default 20)")
    parser.add_argument("--ticks", type=int, default=200, help="per generated episode (default 200)")
    parser.add_argument(
        "--codec", choices=tuple(CODECS), default=ExportOptions.codec, help="of the export (default h264)"
    )
    parser.add_argument("--windows", type=int, default=5000, help="windows to read (default 5000)")
    parser.add_argument("--decoded-windows", type=int, default=200, help="windows to decode (default 200)")
    parser.add_argument("--json", type=Path, help="write the result here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
