"""Bundles on the same episodes, and what a sample of each takes: shared by the benchmarks that compare success."""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.engine import Denoiser
from sim_bridge.episode import EngineConfig
from sim_bridge.evaluate import EvaluateConfig, evaluate

_SAMPLES = 50


def add_episode_options(parser: argparse.ArgumentParser) -> None:
    """``--episodes``, ``--seed``, ``--workers`` and ``--json``."""
    parser.add_argument("--episodes", type=int, default=100, help="per row of the result (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the first episode (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes; results do not depend on it (default 1)")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run_episodes(bundle: Bundle, arguments: argparse.Namespace, name: str) -> NDArray[np.int8]:
    """Outcome of every episode, 0 or 1, with progress called ``name``."""
    config = EvaluateConfig(
        bundle.path, bundle.spec.task, arguments.episodes, arguments.seed, arguments.workers, EngineConfig()
    )
    episodes = tqdm(evaluate(config), desc=name, unit="episode", total=config.episodes)
    return np.array([episode.success for episode in episodes], np.int8)


def sample_times_ms(bundles: Sequence[Bundle]) -> list[float]:
    """Median time of a sample of one chunk in ms, of every bundle; interleaved, so that a busy moment hits all alike."""
    generator = np.random.default_rng(0)
    denoisers = [Denoiser(bundle) for bundle in bundles]
    inputs = [
        (
            generator.standard_normal((bundle.spec.history.length, bundle.spec.row_width)).astype(np.float32),
            generator.standard_normal(denoiser.chunk_shape).astype(np.float32),
        )
        for bundle, denoiser in zip(bundles, denoisers, strict=True)
    ]
    times_ms: list[list[float]] = [[] for _ in denoisers]
    for _ in range(_SAMPLES):
        for denoiser, (context, noise), row_ms in zip(denoisers, inputs, times_ms, strict=True):
            begun_s = time.perf_counter()
            denoiser.sample(context, noise)
            row_ms.append(1e3 * (time.perf_counter() - begun_s))
    return [statistics.median(row_ms) for row_ms in times_ms]
