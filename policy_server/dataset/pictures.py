"""Pictures of a dataset: frames of some episodes, lengths, ranges of the columns, one episode over time."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from policy_server.dataset.description import Column, Description
from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.recording import read_episode

FRAMES_FILE = "frames.png"
LENGTHS_FILE = "lengths.png"
RANGES_FILE = "ranges.png"
EPISODE_FILE = "episode.png"
_DPI = 110


def draw(dataset: Path, description: Description, folder: Path) -> list[Path]:
    """Draw all pictures into ``folder``; returns the files. Raises DatasetError when an episode that is shown is damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(description.lengths)
    draw_lengths(description, folder / LENGTHS_FILE)
    draw_ranges(description, folder / RANGES_FILE)
    draw_episode(dataset, names[len(names) // 2], description, folder / EPISODE_FILE)
    files = [LENGTHS_FILE, RANGES_FILE, EPISODE_FILE]
    if description.info.cameras:
        draw_frames(dataset, names, folder / FRAMES_FILE)
        files.insert(0, FRAMES_FILE)
    return [folder / file for file in files]


def draw_frames(dataset: Path, names: Sequence[str], file: Path, rows: int = 6) -> None:
    """First, middle and last frame of each camera, one row per episode, of episodes at even distances."""
    chosen = [names[index] for index in np.unique(np.linspace(0, len(names) - 1, rows).round().astype(int))]
    shown = [_first_middle_last(dataset, name) for name in chosen]
    columns = len(shown[0])
    figure, axes = plt.subplots(
        len(chosen), columns, figsize=(1.7 * columns, 1.8 * len(chosen)), squeeze=False, constrained_layout=True
    )
    for row, (name, frames) in enumerate(zip(chosen, shown, strict=True)):
        for axis, (title, frame) in zip(axes[row], frames.items(), strict=True):
            axis.imshow(frame)
            axis.set(xticks=[], yticks=[])
            if row == 0:
                axis.set_title(title, fontsize=8)
        axes[row, 0].set_ylabel(name.removeprefix("episode_"), fontsize=8)
    _save(figure, file)


def draw_lengths(description: Description, file: Path) -> None:
    """Histogram of the episodes' lengths."""
    figure, axis = plt.subplots(figsize=(7, 4), constrained_layout=True)
    ticks = list(description.lengths.values())
    axis.hist(ticks, bins=min(40, max(ticks) - min(ticks) + 1), color="tab:blue")
    axis.axvline(description.length_quantiles["50%"], color="tab:orange", label="median")
    axis.set(xlabel=f"ticks of {1 / description.info.rate_hz:g} s", ylabel="episodes")
    axis.set_title(f"{description.info.task}: length of {description.episodes} episodes")
    axis.legend()
    _save(figure, file)


def draw_ranges(description: Description, file: Path) -> None:
    """Smallest to largest value of each joint, action and feature as a line, mean ± standard deviation as a bar."""
    groups = {
        "measured joints [rad, m]": description.joints,
        "actions [rad, m]": description.actions,
        "features": description.features,
    }
    groups = {title: columns for title, columns in groups.items() if columns}
    tallest = max(len(columns) for columns in groups.values())
    figure, axes = plt.subplots(
        1, len(groups), figsize=(5 * len(groups), 1.2 + 0.35 * tallest), squeeze=False, constrained_layout=True
    )
    for axis, (title, columns) in zip(axes[0], groups.items(), strict=True):
        _draw_range(axis, columns)
        axis.set_title(title)
    _save(figure, file)


def draw_episode(dataset: Path, name: str, description: Description, file: Path) -> None:
    """Each joint of one episode over time, measured and as the action asked for it."""
    arrays = read_episode(dataset, name, images=False)
    info = description.info
    times_s = (arrays.stamps_ns - arrays.stamps_ns[0]) / NS_PER_S
    joints = info.proprioception_joints
    rows = -(-len(joints) // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(11, 1.2 + 1.9 * rows), sharex=True, squeeze=False, constrained_layout=True
    )
    for axis, joint in zip(axes.T.flat, joints, strict=False):
        axis.plot(times_s, arrays.joints[:, joints.index(joint)], color="tab:blue", label="measured")
        if joint in info.action_joints:
            action = arrays.actions[:, info.action_joints.index(joint)]
            axis.plot(times_s + 1 / info.rate_hz, action, color="tab:orange", linestyle="--", label="action")
        axis.set_ylabel(joint, fontsize=8)
    for axis in axes.T.flat[len(joints) :]:
        axis.set_axis_off()
    axes[0, 0].legend()
    for axis in axes[-1]:
        axis.set_xlabel("time [s]")
    figure.suptitle(f"{name}: joints [rad, m]; an action is drawn where it is to be reached")
    _save(figure, file)


def _first_middle_last(dataset: Path, name: str) -> dict[str, NDArray[np.uint8]]:
    images = read_episode(dataset, name).images
    return {
        f"{camera}, {title}": frames[index]
        for camera, frames in images.items()
        for title, index in (("first", 0), ("middle", len(frames) // 2), ("last", -1))
    }


def _draw_range(axis: Axes, columns: Sequence[Column]) -> None:
    for row, column in enumerate(columns):
        axis.plot([column.minimum, column.maximum], [row, row], color="tab:gray", linewidth=1, marker="|")
        axis.barh(row, 2 * column.std, left=column.mean - column.std, height=0.5, color="tab:blue", alpha=0.6)
        axis.plot(column.mean, row, color="black", marker=".")
    axis.set_yticks(range(len(columns)), [column.name for column in columns], fontsize=8)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file, dpi=_DPI)
    plt.close(figure)
