"""One run of a comparison: train, then measure. ``policy_server.compare_optimizers`` prepares its folder and starts it."""

import argparse
import sys
from pathlib import Path

from policy_server.comparison.configuration import ValidationLossConfig
from policy_server.comparison.measurement import Measurement, read_loss_curve, write_measurement
from policy_server.comparison.orthogonalisation import assess, flops_of_run, last_matrices, polar_configs
from policy_server.comparison.runs import VALIDATION_FILE
from policy_server.comparison.validation_loss import averaged_policy, validation_loss
from policy_server.runtime.command import run_command
from policy_server.runtime.configuration import load
from policy_server.runtime.recording import read_dataset_info
from policy_server.sweep.trainings import TRAINING_FILE
from policy_server.train import train
from policy_server.training.checkpoint import choose_checkpoint
from policy_server.training.configuration import TrainingConfig, policy_spec
from policy_server.training.distributed import World
from policy_server.training.episodes import Episodes, load_episodes
from policy_server.training.policy_loss import PolicyLoss
from policy_server.training.trainer import Trainer


def main() -> int:
    folder = _parse().folder
    config = load(TrainingConfig, folder / TRAINING_FILE)
    settings = load(ValidationLossConfig, folder / VALIDATION_FILE)
    if status := train(config, World()):
        return status
    write_measurement(folder, measure(config, settings))
    print(f"measurement is in {folder}")
    return 0


def measure(config: TrainingConfig, settings: ValidationLossConfig) -> Measurement:
    """Of a run that is trained."""
    spec = policy_spec(config, read_dataset_info(config.dataset))
    limit = config.episodes + settings.episodes if settings.episodes else 0
    everything = load_episodes(config.dataset, spec, limit=limit)
    trained = load_episodes(config.dataset, spec, limit=config.episodes)
    policy = averaged_policy(choose_checkpoint(config.output, "last"))
    trainer = stepping_in_place(config, trained)
    optimizer = trainer.optimizer
    spent = assess(last_matrices(optimizer), polar_configs(optimizer))
    curve = read_loss_curve(config.output)
    muon = config.optimizer.muon
    is_adaptive = config.optimizer.kind == "muon" and muon.recipe == "adaptive"
    return Measurement(
        validation_loss=validation_loss(policy, spec, everything, len(trained), settings),
        final_loss=curve.final_loss,
        step_s=curve.step_s,
        training_s=curve.training_s,
        orthonormalised=spent.numbers / sum(parameter.numel() for parameter in trainer.model.parameters()),
        flops=spent.flops,
        flops_of_fixed_five=spent.flops_of_fixed_five,
        flops_of_run=flops_of_run(spent, config.steps, muon.adaptive if is_adaptive else None),
        error=spent.error,
        error_of_fixed_five=spent.error_of_fixed_five,
    )


def stepping_in_place(config: TrainingConfig, episodes: Episodes) -> Trainer:
    """The run as it ended, with a fresh gradient and a learning rate of zero: its optimizer's steps change no weight.

    One step is taken, so that momentum and gradient belong together.
    """
    trainer = Trainer(config, policy_spec(config, read_dataset_info(config.dataset)), episodes)
    trainer.resume()
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.0
    trainer.optimizer.zero_grad()
    loss = PolicyLoss(trainer.model, config, trains_encoder=config.encoder.mode == "end_to_end")
    loss(trainer.reader.read(config.steps, 0).to(trainer.world.device), config.steps, 0).backward()
    trainer.optimizer.step()
    return trainer


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.comparison.run",
        description="Train and measure one run of a comparison of optimizers, which has prepared its folder.",
        epilog="example: python -m policy_server.comparison.run runs/muon/comparison/unet-adamw-lr0.002-s0",
    )
    parser.add_argument("folder", type=Path, help="folder of the run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
