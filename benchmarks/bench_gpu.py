"""What a tick costs on a GPU: ``python benchmarks/bench_gpu.py --json gpu.json``. Without one it says so and measures nothing.

A tick: preprocess and encode the newest frame of two cameras of 224 x 224, append it to the history of 64, sample one chunk of a UNet
256/512/1024 in ten DDIM steps. Forms: the bundle that a CPU gets (a loop, which no CUDA graph captures), the bundle for a GPU, and that
with float16 inside, each on every GPU provider that is installed; random weights. They run in turns.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from tqdm import tqdm

from machine import describe_machine
from own_tick import own_tick
from policy_server.export.halving import halve_networks_of
from policy_server.export.writing import write_bundle
from policy_server.model.encoder import EncoderConfig
from policy_server.model.policy import ModelConfig
from policy_server.model.unet import UnetConfig
from policy_server.runtime.bundle import Bundle, load_bundle, write_manifest
from policy_server.runtime.command import run_command
from policy_server.runtime.recording import CameraShape
from policy_server.training.configuration import ContextConfig
from random_bundle import random_policy

STEPS = 10
WARM_UP = 10
PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
LOOP, UNROLLED, FLOAT16 = "as for a CPU", "for a GPU", "for a GPU, float16"


def main() -> int:
    arguments = _parse()
    providers = arguments.providers or [key for key, name in PROVIDERS.items() if name in ort.get_available_providers()]
    if not providers:
        print(
            "no GPU provider in this onnxruntime: nothing was measured; pip install onnxruntime-gpu where there is one"
        )
        return 0
    with tempfile.TemporaryDirectory() as folder:
        print("exporting the networks; this takes a few minutes", flush=True)
        bundles = _bundles(Path(folder), arguments)
        times_ms = _interleaved(bundles, providers, arguments.context, arguments.ticks)
    forms = {name: _summary(row) for name, row in times_ms.items()}
    for name, summary in forms.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.2f} ms" for key, value in summary.items()))
    best = min(forms, key=lambda name: forms[name]["p99"])
    print(f"best: {best}, p99 {forms[best]['p99']:.2f} ms")
    if arguments.json:
        result = {"tick_p99_ms": forms[best]["p99"], "best": best, "forms_ms": forms, "context": arguments.context}
        result |= {"ticks": arguments.ticks, "gpu": _gpu(), "machine": describe_machine()}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"results are in {arguments.json}")
    return 0


def _bundles(folder: Path, arguments: argparse.Namespace) -> dict[str, Bundle]:
    cameras = tuple(CameraShape(name, arguments.pixels, arguments.pixels) for name in ("front", "wrist"))
    model = ModelConfig(
        "unet_attention",
        encoder=EncoderConfig((64, 64, 128, 256, 512), 64, "spatial_softmax", 2),
        unet=UnetConfig(tuple(arguments.widths)),
    )
    policy, spec = random_policy(cameras, ContextConfig(arguments.context, 1), arguments.pixels, model, STEPS)
    write_bundle(policy, spec, folder / "loop", {"how": "random weights"}, adaptable=False)
    write_bundle(policy, spec, folder / "unrolled", {"how": "random weights"}, target="gpu")
    unrolled, half = load_bundle(folder / "unrolled"), folder / "half"
    half.mkdir()
    halve_networks_of(unrolled, half)
    write_manifest(half, unrolled.spec, {"how": "random weights"}, precision="float16", target="gpu")
    return {LOOP: load_bundle(folder / "loop"), UNROLLED: unrolled, FLOAT16: load_bundle(half)}


def _interleaved(
    bundles: Mapping[str, Bundle], providers: Sequence[str], context: int, ticks: int
) -> dict[str, list[float]]:
    """Form and provider → milliseconds of every tick."""
    own = {
        f"{name}, {provider}": own_tick(bundle, context, 1, provider)
        for provider in providers
        for name, bundle in bundles.items()
        # Engines cannot be built of a loop over ten networks in reasonable time.
        if not (provider == "tensorrt" and name == LOOP)
    }
    times_ms: dict[str, list[float]] = {name: [] for name in own}
    for number in tqdm(range(WARM_UP + ticks), desc="measuring", unit="tick"):
        for name, tick in own.items():
            begun_s = time.perf_counter()
            tick()
            if number >= WARM_UP:
                times_ms[name].append(1e3 * (time.perf_counter() - begun_s))
    return times_ms


def _summary(times_ms: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(float(np.percentile(times_ms, percent)), 3) for percent in (50, 99)}


def _gpu() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "not named by torch"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/bench_gpu.py",
        description="Median and 99th percentile of a tick on a GPU, for every form of bundle and every GPU provider.",
        epilog="example: python benchmarks/bench_gpu.py --json docs/results/gpu.json",
    )
    parser.add_argument(
        "--providers", nargs="+", choices=("cpu", *PROVIDERS), help="which (default: all GPU providers)"
    )
    parser.add_argument("--context", type=int, default=64, help="observations in the context (default 64)")
    parser.add_argument("--pixels", type=int, default=224, help="side of a camera's picture (default 224)")
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512, 1024], help="of the UNet (256 512 1024)")
    parser.add_argument("--ticks", type=int, default=500, help="to measure (default 500)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
