"""Train a policy: ``python -m policy_server.train config/training/reach_cued.yaml``."""

import argparse
import signal
import sys
import threading

import torch
from tqdm import tqdm

from policy_server.runtime import configuration
from policy_server.runtime.command import EXIT_INTERRUPTED, run_command
from policy_server.runtime.recording import read_dataset_info
from policy_server.training.configuration import TrainingConfig, policy_spec
from policy_server.training.trainer import Trainer
from policy_server.training.windows import load_episodes


def main() -> int:
    arguments = _parse()
    config = configuration.load(TrainingConfig, arguments.config, arguments.overrides)
    if config.threads:
        torch.set_num_threads(config.threads)
    spec = policy_spec(config, read_dataset_info(config.dataset))
    with tqdm(desc="reading episodes", unit="episode") as bar:
        episodes = load_episodes(config.dataset, spec, lambda done, total: _advance(bar, done, total))
    trainer = Trainer(config, spec, episodes)
    trainer.resume()
    parameters = sum(p.numel() for p in trainer.model.parameters())
    size = f"{len(episodes)} episodes, {len(episodes.stamps_ns)} ticks; {parameters / 1e6:.2f} M parameters"
    print(f"{size}; from step {trainer.step} on {trainer.device}")
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with tqdm(total=config.steps, initial=trainer.step, desc="training", unit="step", smoothing=0.05) as bar:
        trainer.run(lambda step, loss: _show(bar, loss), stop.is_set)
    print(f"trained to step {trainer.step} of {config.steps}; checkpoint and loss.csv are in {config.output}")
    return EXIT_INTERRUPTED if stop.is_set() else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m policy_server.train",
        description="Train a policy on a dataset. Started again with the same configuration it goes on where it stopped.",
        epilog="example: python -m policy_server.train config/training/reach_cued.yaml steps=2000 optimizer.learning_rate=1e-3",
    )
    parser.add_argument("config", help="training configuration (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace those of the file")
    return parser.parse_args()


def _show(bar: tqdm, loss: float) -> None:
    bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
    bar.update()


def _advance(bar: tqdm, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


if __name__ == "__main__":
    sys.exit(run_command(main))
