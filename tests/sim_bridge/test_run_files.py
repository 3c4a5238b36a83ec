from pathlib import Path

import av
import numpy as np

from sim_bridge.episode import EpisodeResult
from sim_bridge.run_files import EpisodeTrace, VideoWriter, append_result, read_results
from sim_bridge.run_plots import plot_context, plot_joints


def test_results_come_back_in_order(tmp_path: Path) -> None:
    results = [EpisodeResult(seed, seed == 1, "reason", 40 + seed) for seed in range(3)]
    for result in results:
        append_result(tmp_path, result)
    assert read_results(tmp_path) == results


def test_a_run_without_an_episode_has_no_results(tmp_path: Path) -> None:
    assert read_results(tmp_path) == []


def test_the_video_holds_every_frame(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "run.mp4", 64, 96, 10.0)
    for brightness in range(0, 200, 20):
        writer.add(np.full((64, 96, 3), brightness, np.uint8), "caption")
    writer.close()
    with av.open(str(tmp_path / "run.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 10
    assert abs(int(frames[-1][40:, :, 1].mean()) - 180) < 8


def test_the_pictures_of_a_run_are_drawn(tmp_path: Path) -> None:
    trace = EpisodeTrace()
    for tick in range(5):
        trace.add(tick / 10, np.full(8, tick), np.full(8, tick + 0.1))
    trace.set_context(np.random.default_rng(0).standard_normal((16, 105)).astype(np.float32))
    trace.save(tmp_path, 3)
    plot_joints(tmp_path / "trace_3.npz", tmp_path / "joints.png")
    plot_context(tmp_path / "trace_3.npz", tmp_path / "context.png", 8)
    assert min((tmp_path / name).stat().st_size for name in ("joints.png", "context.png")) > 10_000
