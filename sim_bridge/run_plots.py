"""Pictures of a run: a film strip, joint targets against measurements, and the context as the policy reads it."""

from pathlib import Path

import av
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from sim_bridge.fr3 import COMMAND_JOINTS

FILMSTRIP_FILE = "filmstrip.png"
JOINTS_FILE = "joints.png"
CONTEXT_FILE = "context.png"


def draw_filmstrip(video: Path, ticks: int, file: Path, rows: int = 2, columns: int = 4) -> None:
    """Pictures at even distances out of the first ``ticks`` frames of a video, in reading order."""
    chosen = np.linspace(0, ticks - 1, rows * columns).round().astype(int)
    with av.open(str(video)) as container:
        frames = [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(ticks), container.decode(video=0), strict=False)
        ]
    tiles = np.stack([frames[min(index, len(frames) - 1)][::2, ::2] for index in chosen])
    _, height, width, _ = tiles.shape
    strip = tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    plt.imsave(file, np.ascontiguousarray(strip))


def plot_joints(trace: Path, file: Path) -> None:
    """Eight panels, one per joint: what the controllers commanded and what was measured."""
    with np.load(trace, allow_pickle=False) as data:
        times_s, targets, measured = data["times_s"], data["targets"], data["measured"]
    figure, axes = plt.subplots(4, 2, figsize=(11, 9), sharex=True, constrained_layout=True)
    for joint, axis in enumerate(axes.T.flat):
        unit = "m" if "finger" in COMMAND_JOINTS[joint] else "rad"
        axis.plot(times_s, targets[:, joint], color="tab:orange", linewidth=2.5, label="target")
        axis.plot(times_s, measured[:, joint], color="tab:blue", linewidth=1.0, label="measured")
        axis.set_ylabel(f"{COMMAND_JOINTS[joint].removeprefix('fr3_')} [{unit}]")
        axis.margins(y=0.15)
    axes[0, 0].legend(loc="best")
    for axis in axes[-1]:
        axis.set_xlabel("time [s]")
    figure.suptitle(f"Joint targets and measurements, {trace.stem.replace('_', ' seed ')}")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def plot_context(trace: Path, file: Path, proprioception: int) -> None:
    """The last context of an episode: one row per remembered tick, oldest on top."""
    with np.load(trace, allow_pickle=False) as data:
        rows = data["context"]
    parts = {
        "age [s]": rows[:, :1],
        "embedding": rows[:, 1:-proprioception],
        "joints [rad, m]": rows[:, -proprioception:],
    }
    widths = [1.5, 10, 3]
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), width_ratios=widths, constrained_layout=True)
    for axis, (name, part) in zip(axes, parts.items(), strict=True):
        limit = np.abs(part).max() or 1.0
        picture = axis.imshow(part, aspect="auto", cmap="coolwarm", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set_title(name)
        axis.set_xticks([])
        figure.colorbar(picture, ax=axis)
    axes[0].set_ylabel("remembered tick, newest below")
    figure.suptitle("What the policy remembers at the end of the episode (policy/context)")
    figure.savefig(file, dpi=110)
    plt.close(figure)
