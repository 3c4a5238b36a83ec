"""Export a trained policy as a bundle: ``python -m policy_server.export runs/reach_cued --output bundles/reach_cued``."""

import argparse
import dataclasses
import sys
from pathlib import Path

from policy_server.export.writing import write_bundle
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime import configuration
from policy_server.runtime.command import run_command
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec, VerificationSpec
from policy_server.training.checkpoint import choose_checkpoint
from policy_server.training.configuration import most_sampling_steps


def main() -> int:
    arguments = _parse()
    checkpoint = choose_checkpoint(arguments.run, arguments.checkpoint)
    scheduled = _scheduled(checkpoint.spec, arguments.replan_every_ticks)
    spec = _sampled(scheduled, arguments.sampling_steps, most_sampling_steps(checkpoint.config))
    spec = dataclasses.replace(spec, verification=VerificationSpec(arguments.candidates))
    policy = DiffusionPolicy(spec, checkpoint.config.model)
    policy.load_state_dict(checkpoint.average)
    training = {"steps": checkpoint.step, "config": configuration.to_plain(checkpoint.config)}
    adaptable = arguments.target == "cpu" and not arguments.without_adapters
    parity = write_bundle(policy, spec, arguments.output, training, adaptable=adaptable, target=arguments.target)
    size_mb = sum(file.stat().st_size for file in arguments.output.iterdir()) / 1e6
    embedding = f"embedding {parity.embedding:.1e}, " if spec.cameras else ""
    adapted = f", chunk with an adapter {parity.adapted_chunk:.1e}" if adaptable else ""
    print(
        f"parity with torch: {embedding}chunk {parity.chunk:.1e}{adapted}, continuing a plan {parity.continued_chunk:.1e}"
    )
    print(f"bundle of step {checkpoint.step} ({size_mb:.1f} MB) is in {arguments.output}")
    return 0


def _scheduled(spec: PolicySpec, replan_every_ticks: int | None) -> PolicySpec:
    """The spec with another chunk schedule: how often to sample is a matter of running, not of training."""
    if replan_every_ticks is None:
        return spec
    future = spec.action.future_steps
    if not 1 <= replan_every_ticks <= future:
        raise ConfigurationError(
            f"--replan-every-ticks {replan_every_ticks}: the chunk has {future} future steps; give 1 to {future}"
        )
    return dataclasses.replace(spec, action=dataclasses.replace(spec.action, replan_every_ticks=replan_every_ticks))


def _sampled(spec: PolicySpec, steps: int | None, most: int) -> PolicySpec:
    """The spec with another number of denoising steps, of which the network was trained for ``most``."""
    if steps is None:
        return spec
    if not 1 <= steps <= most:
        raise ConfigurationError(
            f"--sampling-steps {steps}: the policy was trained with {most} steps; give 1 to {most}"
        )
    return dataclasses.replace(spec, sampler=dataclasses.replace(spec.sampler, steps=steps))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.export",
        description="Export the averaged weights of a training run as a bundle, and check it against torch.",
        epilog="example: python -m policy_server.export runs/reach_cued --output bundles/reach_cued",
    )
    parser.add_argument("run", type=Path, help="folder of the training run (with checkpoint.pt)")
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last"),
        help="best: the one that did best in validation rollouts; last: the newest (default: best where there is one)",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the bundle to write")
    parser.add_argument("--replan-every-ticks", type=int, help="ticks between two samples (default: as it was trained)")
    parser.add_argument(
        "--sampling-steps",
        type=int,
        help="denoising steps per chunk, 1 to 3 for speed (default: as the configuration says)",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        default=1,
        help="chunks drawn per sample, of which the one that agrees best with the executed past is taken (default 1: no choice)",
    )
    parser.add_argument(
        "--without-adapters",
        action="store_true",
        help="a denoiser that takes no adapters at run time: loads a little faster and answers the same",
    )
    parser.add_argument(
        "--target",
        choices=("cpu", "gpu"),
        default="cpu",
        help="gpu: the sampling steps one after the other, for a CUDA graph, without adapters (default cpu; either runs on both)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
