"""What a tick costs, beside what people use today: ``python benchmarks/bench_tick.py --json tick.json``.

A tick: preprocess and encode the newest frame of each camera, append it to the history, gather the context, sample one chunk in ten DDIM
steps. All contestants have equal widths (ResNet-18 with GroupNorm per camera, UNet 128/256/512, chunk of 16), random weights, and the
same number of threads to choose from; they run in turns, so that a busy moment of the machine hits all alike.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from tqdm import tqdm

from bounds import MachineRates, measure_rates, sampling_bound_s
from machine import describe_machine
from naive_policy import naive_tick
from node_memory import memory_beyond_bundle_mib
from own_tick import any_observation, own_tick, shortened
from peer_process import Peer, peer_ticks
from policy_server.export.quantising import quantise_denoiser_of, quantise_encoder
from policy_server.export.writing import write_bundle
from policy_server.model.encoder import EncoderConfig
from policy_server.model.policy import DiffusionPolicy, ModelConfig
from policy_server.model.unet import UnetConfig
from policy_server.runtime.actor import Actor
from policy_server.runtime.bundle import ENCODER_FILE, Bundle, load_bundle, write_manifest
from policy_server.runtime.command import run_command
from policy_server.runtime.memory import Memory
from policy_server.runtime.recording import CameraShape
from policy_server.runtime.thread_count import fastest_thread_count
from policy_server.training.configuration import ContextConfig
from random_bundle import random_policy

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CONTEXTS = (2, 4, 8, 16, 32, 64, 128, 256)
PEER_CONTEXTS = (2, 16, 64, 128)
PIXELS, STEPS, FEW_STEPS = 96, 10, 2
WIDTHS = ModelConfig(
    "unet_attention",
    encoder=EncoderConfig((64, 64, 128, 256, 512), 64, "spatial_softmax", 2),
    unet=UnetConfig((128, 256, 512)),
)
PEERS = Path(__file__).parent / "peers"
FLOAT32, INT8, FEW, FEW_INT8 = "float32", "int8", f"float32, {FEW_STEPS} steps", f"int8, {FEW_STEPS} steps"
NAIVE, LEROBOT, DIFFUSION_POLICY = "naive PyTorch", "LeRobot", "diffusion_policy"

Tick = Callable[[], float]
"""Makes one tick and says how many milliseconds it took."""


@dataclass(frozen=True)
class Contestant:
    """Somebody's tick at one context length."""

    name: str
    context: int
    tick: Tick


def main() -> int:
    arguments = _parse()
    cameras = tuple(CameraShape(name, PIXELS, PIXELS) for name in ("front", "wrist")[: arguments.cameras])
    with tempfile.TemporaryDirectory() as folder, _running(_peers(arguments), arguments) as peers:
        print("exporting the networks; this takes a few minutes", flush=True)
        policy, bundles = _bundles(Path(folder), cameras)
        threads = arguments.threads or fastest_thread_count(shortened(bundles[FLOAT32], 64))
        contestants = [*_ours(bundles, threads), *_naive(policy, arguments.threads or _cores()), *peers]
        rates = measure_rates(threads)
        times_ms = _interleaved(contestants, arguments.rounds)
        stages_ms = {name: _stages_ms(bundles[name], 64, threads) for name in (FLOAT32, INT8)}
        memory_mib = {name: memory_beyond_bundle_mib(bundles[name]) for name in (FLOAT32, INT8)}
    result = _result(times_ms, stages_ms, policy, rates, threads, arguments)
    result["node_memory_beyond_bundle_mib"] = {name: round(mib, 1) for name, mib in memory_mib.items()}
    _show(result, times_ms)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        picture = arguments.json.with_suffix(".png")
        _plot(times_ms, picture)
        print(f"results are in {arguments.json}, the picture in {picture}")
    return 0


# --- who takes part -------------------------------------------------------------------------------------------------------


def _bundles(folder: Path, cameras: Sequence[CameraShape]) -> tuple[DiffusionPolicy, dict[str, Bundle]]:
    """The policy in torch, and every form of it that is measured."""
    bundles = {}
    for steps, name, rounded in ((FEW_STEPS, FEW, FEW_INT8), (STEPS, FLOAT32, INT8)):
        policy, spec = random_policy(cameras, ContextConfig(max(CONTEXTS), 1), PIXELS, WIDTHS, steps)
        write_bundle(policy, spec, folder / name, {"how": "random weights"})
        bundles[name] = load_bundle(folder / name)
        bundles[rounded] = _rounded(bundles[name], folder / rounded)
    return policy, bundles


def _rounded(bundle: Bundle, folder: Path) -> Bundle:
    """With 8-bit weights, calibrated on noise: speed does not depend on it."""
    generator = np.random.default_rng(0)
    pictures = [
        {c.name: generator.integers(0, 256, (1, c.height, c.width, 3), dtype=np.uint8) for c in bundle.spec.cameras}
        for _ in range(4)
    ]
    folder.mkdir()
    quantise_denoiser_of(bundle, folder)
    quantise_encoder(bundle.encoder_path, folder / ENCODER_FILE, pictures)
    write_manifest(folder, bundle.spec, {"how": "random weights"}, bundle.manifest.adaptable, "int8")
    return load_bundle(folder)


def _ours(bundles: Mapping[str, Bundle], threads: int) -> Iterator[Contestant]:
    for name, bundle in bundles.items():
        for length in CONTEXTS if name in (FLOAT32, INT8) else (64,):
            yield Contestant(name, length, _timed(own_tick(bundle, length, threads)))


def _naive(policy: DiffusionPolicy, threads: int) -> Iterator[Contestant]:
    for length in PEER_CONTEXTS:
        yield Contestant(NAIVE, length, _timed(naive_tick(policy, PIXELS, length, threads)))


def _peers(arguments: argparse.Namespace) -> Iterator[Peer]:
    """Those whose interpreters are given."""
    if arguments.lerobot_python:
        yield Peer(LEROBOT, PEERS / "lerobot_tick.py", arguments.lerobot_python)
    if arguments.diffusion_policy_python:
        script, checkout = PEERS / "diffusion_policy_tick.py", arguments.diffusion_policy_checkout
        yield Peer(DIFFUSION_POLICY, script, arguments.diffusion_policy_python, checkout)


@contextmanager
def _running(peers: Iterable[Peer], arguments: argparse.Namespace) -> Iterator[list[Contestant]]:
    """The peers' processes, all of them within."""
    lengths = PEER_CONTEXTS[:-1]
    sizes = ["--cameras", arguments.cameras, "--pixels", PIXELS, "--steps", STEPS]
    sizes += ["--threads", arguments.threads or _cores(), "--contexts", *lengths]
    with ExitStack() as processes:
        ticks_ms = {peer.name: processes.enter_context(peer_ticks(peer, sizes)) for peer in peers}
        yield [Contestant(name, n, partial(tick_ms, n)) for name, tick_ms in ticks_ms.items() for n in lengths]


# --- measuring ------------------------------------------------------------------------------------------------------------


def _interleaved(contestants: Sequence[Contestant], rounds: int) -> dict[str, dict[int, list[float]]]:
    """Name → context → milliseconds of every round; the first round warms up and is not kept."""
    times_ms: dict[str, dict[int, list[float]]] = {}
    for number in tqdm(range(rounds + 1), desc="measuring", unit="round"):
        for each in contestants:
            took_ms = each.tick()
            if number:
                times_ms.setdefault(each.name, {}).setdefault(each.context, []).append(took_ms)
    return times_ms


def _stages_ms(bundle: Bundle, length: int, threads: int, rounds: int = 20) -> dict[str, float]:
    """Median time of the parts of a tick: preprocessing and encoder, history, denoiser."""
    memory = Memory(shortened(bundle, length), threads=threads, max_gap_ns=10 * bundle.spec.period_ns)
    actor = Actor(shortened(bundle, length), threads=threads, replan_every_ticks=1)
    observation = any_observation(bundle)
    rows: dict[str, list[float]] = {"encoder": [], "denoiser": [], "all else": []}
    for count in range(rounds + length):
        begun_s = time.perf_counter()
        context = memory.observe(dataclasses.replace(observation, stamp_ns=count * bundle.spec.period_ns))
        if count >= length:
            actor.answer(context)
            networks = {"encoder": memory.last_network_ns / 1e6, "denoiser": actor.last_network_ns / 1e6}
            networks["all else"] = 1e3 * (time.perf_counter() - begun_s) - sum(networks.values())
            for name, value in networks.items():
                rows[name].append(value)
    return {name: round(statistics.median(row), 3) for name, row in rows.items()}


def _timed(work: Callable[[], None]) -> Tick:
    def tick() -> float:
        begun_s = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - begun_s)

    return tick


def _cores() -> int:
    return len(os.sched_getaffinity(0))


# --- results --------------------------------------------------------------------------------------------------------------


def _result(
    times_ms: Mapping[str, Mapping[int, Sequence[float]]],
    stages_ms: Mapping[str, Mapping[str, float]],
    policy: DiffusionPolicy,
    rates: MachineRates,
    threads: int,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    median = {name: {n: statistics.median(row) for n, row in rows.items()} for name, rows in times_ms.items()}
    best = min((INT8, FEW, FEW_INT8), key=lambda name: median[name][64])
    bound_ms = 1e3 * sampling_bound_s(
        policy, torch.zeros(1, 64, 1 + policy.encoder.embedding_dim + policy.states), rates
    )
    ratios = {
        "naive_over_ours_64": median[NAIVE][64] / median[FLOAT32][64],
        "naive_over_ours_128": median[NAIVE][128] / median[FLOAT32][128],
        "naive_over_best_64": median[NAIVE][64] / median[best][64],
        "int8_over_float32_64": median[INT8][64] / median[FLOAT32][64],
        "ratio_256_over_2": median[FLOAT32][256] / median[FLOAT32][2],
        "ratio_256_over_2_int8": median[INT8][256] / median[INT8][2],
        "bound_fraction": bound_ms / stages_ms[FLOAT32]["denoiser"],
    }
    return {
        **{name: round(value, 3) for name, value in {**ratios, **_peer_ratios(median)}.items()},
        "best_form": best,
        "tick_ms": {name: {str(n): round(ms, 3) for n, ms in rows.items()} for name, rows in median.items()},
        "stages_ms_at_64": stages_ms,
        "denoiser_bound_ms_at_64": round(bound_ms, 3),
        "gigabytes_per_s": round(rates.bytes_per_s / 1e9, 2),
        "gigaflops_per_s": round(rates.flops_per_s / 1e9, 1),
        "cameras": arguments.cameras,
        "threads": threads,
        "threads_of_the_others": arguments.threads or _cores(),
        "rounds": arguments.rounds,
        "machine": describe_machine(),
    }


def _peer_ratios(median_ms: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """Of the peers that took part, over our float32 form at context 64."""
    keys = {LEROBOT: "lerobot_over_ours_64", DIFFUSION_POLICY: "diffusion_policy_over_ours_64"}
    return {key: median_ms[name][64] / median_ms[FLOAT32][64] for name, key in keys.items() if name in median_ms}


def _show(result: Mapping[str, Any], times_ms: Mapping[str, Mapping[int, Sequence[float]]]) -> None:
    for name in times_ms:
        row = "  ".join(f"{n}: {float(ms):7.1f}" for n, ms in result["tick_ms"][name].items())
        print(f"{name:>18}  ms at context {row}")
    for name, value in result.items():
        if isinstance(value, float):
            print(f"{name}: {value}")


def _plot(times_ms: Mapping[str, Mapping[int, Sequence[float]]], file: Path) -> None:
    figure, axis = plt.subplots(figsize=(8, 5), constrained_layout=True)
    for name, rows in times_ms.items():
        lengths = list(rows)
        low, middle, high = np.percentile([rows[n] for n in lengths], (10, 50, 90), axis=1)
        (line,) = axis.plot(lengths, middle, marker="o", label=name)
        axis.fill_between(lengths, low, high, alpha=0.2, color=line.get_color())
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(CONTEXTS, [str(length) for length in CONTEXTS])
    axis.set_xlabel("context length")
    axis.set_ylabel("one tick [ms]")
    axis.set_title("Newest frame in, action chunk out: medians, 10th to 90th percentile")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_tick.py",
        description="A tick of the long-context policy at context lengths 2 to 256, beside naive PyTorch, LeRobot and diffusion_policy.",
        epilog="example: python benchmarks/bench_tick.py --json tick.json --lerobot-python ~/lerobot/bin/python",
    )
    parser.add_argument("--rounds", type=int, default=15, help="ticks of each contestant (default 15)")
    parser.add_argument("--cameras", type=int, default=1, choices=(1, 2), help="cameras of 96 x 96 (default 1)")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="threads for everyone (default: ours by measurement, the others all cores)",
    )
    parser.add_argument(
        "--lerobot-python", type=Path, help="interpreter of an environment with LeRobot; it then takes part"
    )
    parser.add_argument(
        "--diffusion-policy-python",
        type=Path,
        help="interpreter of an environment with what diffusion_policy imports; it then takes part",
    )
    parser.add_argument("--diffusion-policy-checkout", type=Path, help="folder of a clone of diffusion_policy")
    parser.add_argument("--json", type=Path, help="write the figures here, and a picture beside it")
    arguments = parser.parse_args()
    if (arguments.diffusion_policy_python is None) != (arguments.diffusion_policy_checkout is None):
        parser.error("--diffusion-policy-python and --diffusion-policy-checkout: give both or none")
    return arguments


if __name__ == "__main__":
    sys.exit(run_command(main))
