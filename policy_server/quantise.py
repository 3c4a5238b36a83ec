"""Give a bundle weights of 8 or 16 bits: ``python -m policy_server.quantise BUNDLE --dataset data/press_count --output runs/int8``.

What that changes is measured on recorded episodes, printed, and written into the manifest.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from policy_server.export.chunk_change import ChunkChange, measure_change, provider_for
from policy_server.export.dataset_fit import check_dataset_fits
from policy_server.export.halving import halve_networks_of
from policy_server.export.placing import placed
from policy_server.export.quantising import quantise_denoiser_of, quantise_encoder_of
from policy_server.runtime.bundle import Bundle, load_bundle, write_manifest
from policy_server.runtime.command import run_command
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import Precision


def main() -> int:
    arguments = _parse()
    bundle = load_bundle(arguments.bundle)
    change = quantise(bundle, arguments.dataset, arguments.output, arguments.precision)
    sizes_mb = [_size_mb(folder) for folder in (bundle.path, arguments.output)]
    print(
        f"chunks differ from float32 by {change.rms:.1e} (rms) and at most {change.largest:.1e} rad, m ({change.samples} contexts of "
        f"'{arguments.dataset}')"
    )
    if arguments.precision == "float16" and provider_for("float16") == "cpu":
        print("measured on a CPU, which computes such a bundle in float32: this is the rounding of the weights alone")
    print("what that means for success: python -m sim_bridge.evaluate, or python benchmarks/bench_bundles.py")
    print(
        f"bundle with {arguments.precision} weights ({sizes_mb[1]:.1f} MB, was {sizes_mb[0]:.1f}) is in {arguments.output}"
    )
    return 0


def quantise(bundle: Bundle, dataset: Path, folder: Path, precision: Precision = "int8") -> ChunkChange:
    """Write the bundle with weights of this precision; the folder is put in place only when it is whole.

    Raises:
        ConfigurationError: the bundle is not one of float32, or not one for the hardware that this precision is for, or ``folder`` holds
            something else than a bundle, or the source itself.
        DatasetError: the dataset cannot be read, has no episode, or was not recorded as the bundle's policy observes.
        PrecisionError: chunks are not finite with such weights.
    """
    if bundle.manifest.precision != "float32":
        raise ConfigurationError(
            f"bundle '{bundle.path}' has {bundle.manifest.precision} weights already: quantise the float32 one that it came from"
        )
    wanted = "gpu" if precision == "float16" else "cpu"
    if bundle.manifest.target != wanted:
        raise ConfigurationError(
            f"bundle '{bundle.path}' is for a {bundle.manifest.target}, where {precision} does not pay: "
            f"export it with --target {wanted}, or choose another --precision"
        )
    check_dataset_fits(bundle, dataset)
    with placed(folder, source=bundle.path) as partial:
        if precision == "float16":
            halve_networks_of(bundle, partial)
        else:
            quantise_denoiser_of(bundle, partial)
            if bundle.spec.cameras:
                quantise_encoder_of(bundle, partial, dataset)
        _write_manifest(partial, bundle, precision, {})
        change = measure_change(bundle, load_bundle(partial), dataset, provider_for(precision))
        _write_manifest(partial, bundle, precision, {"from": bundle.hash, **dataclasses.asdict(change)})
    return change


def _write_manifest(folder: Path, source: Bundle, precision: Precision, change: dict[str, object]) -> None:
    manifest = source.manifest
    training = {**manifest.training, precision: change}
    write_manifest(folder, manifest.policy, training, manifest.adaptable, precision, manifest.target)


def _size_mb(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.quantise",
        description="Write a bundle anew with 8-bit weights, which a CPU samples with in less than half of the time, or with 16-bit ones, "
        "for a GPU.",
        epilog="example: python -m policy_server.quantise bundles/press_count --dataset data/press_count --output runs/bundles/int8",
    )
    parser.add_argument("bundle", type=Path, help="folder of a float32 bundle")
    parser.add_argument(
        "--dataset", type=Path, required=True, help="recorded episodes of its task, to calibrate on and to compare over"
    )
    parser.add_argument(
        "--precision",
        choices=("int8", "float16"),
        default="int8",
        help="int8 for a CPU, float16 for a GPU (default int8)",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the bundle to write")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
