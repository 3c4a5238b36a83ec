"""What a training step costs, end to end against cached embeddings: ``python benchmarks/bench_training.py --json training.json``.

Context of 64 ticks, 64 windows per step, two 96 x 96 cameras. Five ways of making the same context rows:

- end to end: every window's 64 pictures per camera are encoded and the encoder learns.
- end to end, shared: the same, but eight windows of one episode share their pictures, as this project's trainer does it.
- frozen, frozen shared: the encoder is run, and learns nothing.
- cached: embeddings are read that were written once.

The 8192 pictures of a step do not fit into a small memory at once, so their gradients are added up over a few windows at a time: the same
step, and on a processor the same time. A slow step is long enough to be measured once; the cached one, which is short, is measured
before, between and after the slow ones.
"""

import argparse
import dataclasses
import json
import resource as process
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from machine import describe_machine
from policy_server.model.encoder import EncoderConfig
from policy_server.model.unet import UnetConfig
from policy_server.runtime import configuration
from policy_server.runtime.command import run_command
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import (
    DATASET_SCHEMA,
    CameraShape,
    DatasetInfo,
    EpisodeArrays,
    create_dataset,
    write_episode,
)
from policy_server.runtime.resources import resource
from policy_server.training.configuration import ContextConfig, EncoderTraining, TrainingConfig, ViewConfig, policy_spec
from policy_server.training.embedding_cache import write_embeddings
from policy_server.training.episodes import Episodes, load_episodes
from policy_server.training.loss_log import StepResult
from policy_server.training.rows import Batch, embedding_file
from policy_server.training.trainer import Trainer
from random_bundle import JOINTS

CAMERAS = (CameraShape("front", 96, 96), CameraShape("wrist", 96, 96))
INFO = DatasetInfo(DATASET_SCHEMA, "reach_cued", 10.0, CAMERAS, JOINTS, JOINTS)
CONTEXT = 64
WINDOWS = 64
EPISODES = 16
TICKS = 160
NETWORKS = {
    "shipped": (EncoderConfig((16, 32, 64), 96), UnetConfig((64, 128))),
    "resnet18_widths": (EncoderConfig((64, 128, 256, 512), 96), UnetConfig((64, 128))),
    "resnet18_widths_paper_unet": (EncoderConfig((64, 128, 256, 512), 96), UnetConfig((256, 512, 1024))),
}


def main() -> int:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder))
        rows = {name: measure(name, Path(folder), arguments) for name in arguments.networks}
    first = rows[arguments.networks[0]]
    result = {
        "end_to_end_over_cached": first["end_to_end_over_cached"],
        "busy_fraction": min(row["busy_fraction"] for row in rows.values()),
        "networks": rows,
        "context": CONTEXT,
        "windows": WINDOWS,
        "cameras": "2 x 96 x 96",
        "precision": arguments.precision,
        "repetitions": arguments.repetitions,
        "windows_at_once": arguments.windows_at_once,
        "threads": arguments.threads,
        "peak_memory_gb": round(process.getrusage(process.RUSAGE_SELF).ru_maxrss / 1024**2, 2),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "machine": describe_machine(),
    }
    print(f"end to end over cached ({arguments.networks[0]}): {result['end_to_end_over_cached']}")
    print(f"trainer busy: {result['busy_fraction']:.1%} of the time")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def measure(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds per step of every way, medians over interleaved measurements, and what follows from them."""
    bench = Bench(name, folder, arguments.precision, arguments.windows_at_once)
    computed = arguments.computed_windows
    slow: dict[str, Callable[[], float]] = {
        "end_to_end_s": lambda: bench.unshared("end_to_end", computed),
        "end_to_end_shared_s": lambda: bench.running("end_to_end", 8, computed),
        "frozen_s": lambda: bench.unshared("frozen", computed),
        "frozen_shared_s": lambda: bench.running("frozen", 8, computed),
    }
    seconds: dict[str, list[float]] = {way: [] for way in (*slow, "cached_s")}
    with tqdm(total=2 * arguments.repetitions * len(slow) + 1, desc=name, unit="measurement") as bar:

        def note(way: str, taken_s: float) -> None:
            seconds[way].append(taken_s)
            bar.update()

        note("cached_s", bench.running("cached", 1, WINDOWS))
        for _ in range(arguments.repetitions):
            for way, step in slow.items():
                note(way, step())
                note("cached_s", bench.running("cached", 1, WINDOWS))
    row = {way: round(statistics.median(values), 4) for way, values in seconds.items()}
    for way in slow:
        row[f"{way.removesuffix('_s')}_over_cached"] = round(row[way] / row["cached_s"], 1)
    row["cached_least_s"], row["cached_most_s"] = round(min(seconds["cached_s"]), 4), round(max(seconds["cached_s"]), 4)
    row["busy_fraction"] = round(bench.busy_fraction, 4)
    row["computed_windows"] = computed
    row |= bench.parameters
    print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()))
    return row


class Bench:
    """Measures one pair of networks over one dataset; one trainer at a time, for large ones fill the memory."""

    def __init__(self, name: str, folder: Path, precision: str, windows_at_once: int) -> None:
        self._folder, self._name, self._at_once = folder, name, windows_at_once
        encoder, unet = NETWORKS[name]
        recipe = configuration.load(TrainingConfig, resource("config/training/reach_cued.yaml"))
        self._config = dataclasses.replace(
            recipe,
            dataset=folder / "data",
            cameras={camera.name: ViewConfig(camera.height, camera.width) for camera in CAMERAS},
            context=ContextConfig(CONTEXT, 1),
            precision=precision,  # type: ignore[arg-type]
            steps=1_000_000,
            checkpoint_every=1_000_000,
            model=dataclasses.replace(recipe.model, encoder=encoder, unet=unet),
        )
        self._spec: PolicySpec = policy_spec(self._config, INFO)
        self._episodes: Episodes = load_episodes(self._config.dataset, self._spec)
        self._weights = folder / f"{name}.safetensors"
        self.parameters: dict[str, float] = {}
        self._write_cache()
        self._busy: dict[str, list[float]] = {}

    @property
    def busy_fraction(self) -> float:
        """The share of its time that a trainer that reads memory-mapped data spends computing; of the way that waits most."""
        return min(statistics.median(fractions) for fractions in self._busy.values())

    def unshared(self, mode: str, computed: int) -> float:
        """Seconds of a step in which every window's pictures are encoded, a few windows at a time; reading is not in it.

        ``computed`` of the windows are; when these are not all, the time is scaled.
        """
        count = computed // self._at_once
        trainer = self._trainer(mode, batch=self._at_once, per_episode=1, batches=count)
        batches = [alone(trainer.reader.read(0, number)) for number in range(count)]
        trainer.train_step([trainer.reader.read(0, 0)])  # makes the optimizer's state
        begun_s = time.perf_counter()
        trainer.train_step(batches)
        return scaled(time.perf_counter() - begun_s, trainer, computed)

    def running(self, mode: str, per_episode: int, computed: int) -> float:
        """Seconds of a step of a real run, reading included: the median after the first, for which nothing was read ahead.

        ``per_episode`` windows of one episode share their pictures. Embeddings are read for all windows at once.
        """
        batch = WINDOWS if mode == "cached" else per_episode
        trainer = self._trainer(mode, batch, per_episode, computed // batch)
        steps = 11 if mode == "cached" else 2
        results: list[StepResult] = []
        trainer.run(lambda _, result: results.append(result), lambda: len(results) == steps)
        seconds = [result.seconds for result in results[1:]]
        waited_s = sum(result.seconds * result.waited_fraction for result in results[1:])
        self._busy.setdefault(mode, []).append(1 - waited_s / sum(seconds))
        return scaled(statistics.median(seconds), trainer, computed)

    def _trainer(self, mode: str, batch: int, per_episode: int, batches: int) -> Trainer:
        config = dataclasses.replace(
            self._config,
            output=self._folder / f"{self._name}_{mode}_{batch}_{per_episode}",
            encoder=EncoderTraining(mode, None if mode == "end_to_end" else self._weights),  # type: ignore[arg-type]
            batch_windows=batch,
            windows_per_episode=per_episode,
            accumulate=batches,
        )
        return Trainer(config, self._spec, self._episodes)

    def _write_cache(self) -> None:
        policy = self._trainer("end_to_end", 4, 1, 1).model
        save_file(policy.encoder.state_dict(), self._weights)
        file = embedding_file(
            self._config.dataset, self._spec, self._config.model.encoder, self._weights, self._episodes
        )
        file.unlink(missing_ok=True)  # other networks with the same encoder may have written it
        begun_s = time.perf_counter()
        write_embeddings(file, policy.encoder, self._episodes)
        taken_s = time.perf_counter() - begun_s
        encoder = sum(parameter.numel() for parameter in policy.encoder.parameters())
        everything = sum(parameter.numel() for parameter in policy.parameters())
        self.parameters = {
            "encoder_parameters": encoder,
            "head_parameters": everything - encoder,
            "caching_s_per_1000_ticks": round(1000 * taken_s / len(self._episodes.stamps_ns), 3),
        }


def scaled(taken_s: float, trainer: Trainer, computed: int) -> float:
    """A step of ``computed`` windows as one of all; what the optimizer takes, which a step pays once, is not scaled."""
    if computed == WINDOWS:
        return taken_s
    begun_s = time.perf_counter()
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0, foreach=True)
    trainer.optimizer.step()
    fixed_s = min(time.perf_counter() - begun_s, taken_s)
    return fixed_s + (taken_s - fixed_s) * WINDOWS / computed


def alone(batch: Batch) -> Batch:
    """The batch with a picture of its own for every row of every window."""
    rows = batch.slots.flatten()
    return dataclasses.replace(
        batch,
        images={name: pictures[rows] for name, pictures in batch.images.items()},
        episode_of_image=batch.episode_of_image[rows],
        slots=torch.arange(len(rows)).reshape(batch.slots.shape),
    )


def write_dataset(folder: Path) -> None:
    """Noise pictures and slow joints: a step costs the same whatever is in them."""
    dataset = folder / "data"
    create_dataset(dataset, INFO)
    for seed in tqdm(range(EPISODES), desc="writing a dataset", unit="episode"):
        generator = np.random.default_rng(seed)
        joints = 0.3 * np.sin(0.05 * np.arange(TICKS)[:, None] + generator.uniform(0, 6, len(JOINTS)))
        images = {c.name: generator.integers(0, 256, (TICKS, c.height, c.width, 3), dtype=np.uint8) for c in CAMERAS}
        stamps_ns = 100_000_000 * np.arange(1, TICKS + 1, dtype=np.int64)
        arrays = EpisodeArrays(
            stamps_ns, joints.astype(np.float32), joints.astype(np.float32), images, np.empty((TICKS, 0), np.float32)
        )
        write_episode(dataset, f"episode_{seed:07d}", arrays, seed=seed, success=True, reason="synthetic")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_training.py",
        description="Seconds per training step at context 64, 64 windows, two 96 x 96 cameras: end to end, frozen, cached.",
        epilog="example: python benchmarks/bench_training.py --json training.json",
    )
    parser.add_argument("--repetitions", type=int, default=1, help="measurements of each slow way (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default 1)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="default float32")
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=list(NETWORKS),
        default=["shipped"],
        help="default shipped; an encoder of a ResNet-18's widths takes about twenty times as long",
    )
    parser.add_argument(
        "--windows-at-once",
        type=int,
        choices=(1, 2, 4, 8),
        default=4,
        help="windows whose pictures are in memory with their gradients; fewer take less memory (default 4)",
    )
    parser.add_argument(
        "--computed-windows",
        type=int,
        choices=(8, 16, 32, 64),
        default=WINDOWS,
        help="of the 64 windows, how many are really computed where pictures are encoded; fewer than all make a quick try, whose "
        "times are scaled (default 64)",
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
