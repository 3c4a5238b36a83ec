"""Adapters as files and bundles: ``python -m policy_server.lora export runs/finetune/table --base bundles/b --output a.safetensors``."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from policy_server.lora.description import describe_adapter, describe_plan, describe_tuned
from policy_server.lora.interpolation import write_interpolations, write_merged
from policy_server.lora.tuned import make_adapter, read_tuned
from policy_server.runtime.adapter import ADAPTER_SUFFIX, read_adapter, write_adapter
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.command import EXIT_INTERRUPTED, run_command, stoppable
from policy_server.training.checkpoint import choose_checkpoint
from policy_server.training.configuration import LoraSettings


def main() -> int:
    arguments = _parser().parse_args()
    return int(arguments.run_command(arguments))


def run_export(arguments: argparse.Namespace) -> int:
    output: Path = arguments.output
    tuned = read_tuned(arguments.run, arguments.checkpoint)
    adapter = make_adapter(tuned, load_bundle(arguments.base), arguments.name or output.stem)
    write_adapter(output, adapter)
    size_kb = output.stat().st_size / 1e3
    print(f"adapter '{adapter.name}' of step {tuned.step}, {adapter.parameters:,} parameters ({size_kb:.0f} kB)")
    if any(path.startswith("encoder.") for path in adapter.layers):
        print("it changes the encoder, too: merge it to run it (python -m policy_server.lora merge)")
    print(f"it is for the bundle {adapter.base_hash}, and is in {output}")
    return 0


def run_merge(arguments: argparse.Namespace) -> int:
    tuned = read_tuned(arguments.run, arguments.checkpoint, arguments.base_run)
    write_merged(tuned, arguments.output, arguments.alpha)
    print(f"merged bundle of step {tuned.step}, alpha {arguments.alpha:g}, is in {arguments.output}")
    return 0


def run_interpolate(arguments: argparse.Namespace) -> int:
    tuned = read_tuned(arguments.run, arguments.checkpoint, arguments.base_run)
    with stoppable() as stopped, tqdm(total=len(arguments.alphas), desc="bundles", unit="bundle") as bar:
        whole = write_interpolations(tuned, arguments.alphas, arguments.output, stopped, lambda *_: bar.update())
    if not whole:
        print(f"stopped; the same command goes on. Bundles are in {arguments.output}")
        return EXIT_INTERRUPTED
    print(f"{len(arguments.alphas)} bundles from the base (alpha 0) to the tuned policy (1) are in {arguments.output}")
    return 0


def run_describe(arguments: argparse.Namespace) -> int:
    path: Path = arguments.path
    if path.suffix == ADAPTER_SUFFIX:
        print("\n".join(describe_adapter(read_adapter(path))))
        return 0
    checkpoint = choose_checkpoint(path, arguments.checkpoint)
    if checkpoint.config.start_from is not None and arguments.rank is None and arguments.targets is None:
        print("\n".join(describe_tuned(read_tuned(path, arguments.checkpoint, arguments.base_run))))
        return 0
    planned = LoraSettings(rank=arguments.rank or 8)
    if arguments.targets:
        planned = LoraSettings(planned.rank, planned.alpha, tuple(arguments.targets))
    print("\n".join(describe_plan(checkpoint, planned)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.lora",
        description="Export, merge, interpolate and describe what fine-tuning has learned.",
        epilog="example: python -m policy_server.lora export runs/finetune/reach_cued --base bundles/reach_cued "
        "--output adapters/reach_cued_table.safetensors",
    )
    commands = parser.add_subparsers(required=True, metavar="{export,merge,interpolate,describe}")
    export = commands.add_parser("export", help="the run's adapter as a file, bound to the bundle of its base")
    export.add_argument("--base", type=Path, required=True, metavar="BUNDLE", help="bundle of the base policy")
    export.add_argument("--output", type=Path, required=True, help="file to write, *.safetensors")
    export.add_argument("--name", help="the adapter's name (default: the file's)")
    merge = commands.add_parser("merge", help="a bundle of the tuned policy, with the adapter in its weights")
    merge.add_argument("--output", type=Path, required=True, help="folder of the bundle to write")
    merge.add_argument("--alpha", type=float, default=1.0, help="0 is the base, 1 the tuned policy (default 1)")
    interpolate = commands.add_parser("interpolate", help="merged bundles on the way from the base to the tuned policy")
    interpolate.add_argument("--output", type=Path, required=True, help="folder for the bundles")
    interpolate.add_argument(
        "--alphas",
        type=float,
        nargs="+",
        default=[0.0, 0.25, 0.5, 0.75, 1.0],
        help="0 is the base, 1 the tuned policy (default 0 0.25 0.5 0.75 1)",
    )
    describe = commands.add_parser("describe", help="an adapter file, a run, or (--rank, --targets) a planned adapter")
    describe.add_argument("path", type=Path, help="adapter file or folder of a training run")
    describe.add_argument("--rank", type=int, help="of an adapter that is planned for this run (default 8)")
    describe.add_argument("--targets", nargs="+", help="its targets: roles or patterns (default denoiser)")
    for command in (export, merge, interpolate):
        command.add_argument("run", type=Path, help="folder of the fine-tuning run")
    for command in (merge, interpolate, describe):
        command.add_argument(
            "--base-run",
            type=Path,
            metavar="RUN",
            help="run it started from (default: as the run says; of full tuning only)",
        )
    for command in (export, merge, interpolate, describe):
        command.add_argument(
            "--checkpoint", choices=("best", "last"), help="which one of the run (default: best where there is one)"
        )
    for command, run in (
        (export, run_export),
        (merge, run_merge),
        (interpolate, run_interpolate),
        (describe, run_describe),
    ):
        command.set_defaults(run_command=run)
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
