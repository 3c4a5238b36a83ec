"""Train a policy: ``python -m policy_server.train config/training/reach_cued.yaml``."""

import argparse
import sys

import torch
from tqdm import tqdm

from policy_server.runtime import configuration
from policy_server.runtime.command import EXIT_INTERRUPTED, run_command, stoppable
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.recording import read_dataset_info
from policy_server.training.configuration import TrainingConfig, policy_spec
from policy_server.training.distributed import World, join_world
from policy_server.training.episodes import Episodes, load_episodes
from policy_server.training.loss_log import StepResult
from policy_server.training.trainer import Trainer
from policy_server.training.validation import Rollouts


def main() -> int:
    arguments = _parse()
    config = configuration.load(TrainingConfig, arguments.config, arguments.overrides)
    with join_world() as world:
        return train(config, world)


def train(config: TrainingConfig, world: World) -> int:
    """Train in this process, one of ``world``; returns the command's exit status."""
    if config.threads:
        torch.set_num_threads(config.threads)
    spec = policy_spec(config, read_dataset_info(config.dataset))
    trainer = Trainer(config, spec, load_shown(config, spec, world), world)
    trainer.resume()
    say(world, _what_is_trained(trainer))
    with (
        stoppable() as stopped,
        tqdm(
            total=config.steps,
            initial=trainer.step,
            desc="training",
            unit="step",
            smoothing=0.05,
            disable=not world.is_first,
        ) as bar,
    ):
        trainer.run(lambda step, result: show(bar, result), stopped, lambda rollouts: _tell(bar, rollouts))
    say(
        world,
        f"trained to step {trainer.step} of {config.steps}; the trainer was busy {trainer.busy_fraction:.1%} of the time",
    )
    say(world, f"checkpoint and loss.csv are in {config.output}")
    return EXIT_INTERRUPTED if stopped() else 0


def load_shown(config: TrainingConfig, spec: PolicySpec, world: World) -> Episodes:
    """The episodes; the first process prepares the pictures, then the others find them ready."""
    skip = config.damaged_episodes == "skip"
    bars: dict[str, tqdm] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, unit="episode", disable=not world.is_first)
        bars[what].update(done - bars[what].n)

    def load() -> Episodes:
        return load_episodes(
            config.dataset,
            spec,
            limit=config.episodes,
            on_damage=(lambda error: say(world, f"skipped: {error}")) if skip else None,
            on_progress=progress,
        )

    try:
        if world.is_first:
            episodes = load()
        world.wait()
        return episodes if world.is_first else load()
    finally:
        for bar in bars.values():
            bar.close()


def _what_is_trained(trainer: Trainer) -> str:
    episodes, world = trainer.episodes, trainer.world
    parameters = sum(p.numel() for p in trainer.model.parameters())
    size = f"{len(episodes)} episodes, {len(episodes.stamps_ns)} ticks; {parameters / 1e6:.2f} M parameters"
    return f"{size}; from step {trainer.step} on {world.device}, {world.size} {'process' if world.size == 1 else 'processes'}"


def say(world: World, line: str) -> None:
    if world.is_first:
        tqdm.write(line)


def show(bar: tqdm, result: StepResult) -> None:
    bar.set_postfix(loss=f"{result.loss:.4f}", refresh=False)
    bar.update()


def _tell(bar: tqdm, rollouts: Rollouts) -> None:
    rate = f"{rollouts.successes}/{rollouts.episodes}"
    bar.write(f"validation at step {rollouts.step}: {rate} = {rollouts.success_rate:.1%}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.train",
        description="Train a policy on a dataset. Started again with the same configuration it goes on where it stopped.",
        epilog="example: python -m policy_server.train config/training/reach_cued.yaml steps=2000 optimizer.learning_rate=1e-3; "
        "with several GPUs: torchrun --nproc-per-node 4 -m policy_server.train config/training/reach_cued.yaml",
    )
    parser.add_argument("config", help="training configuration (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of the file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
