"""The training loop: windows in, checkpoints and a loss curve out; resumes where it stopped."""

import csv
import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.errors import ConfigurationError, PolicyError
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from policy_server.training.configuration import OptimizerConfig, TrainingConfig
from policy_server.training.windows import Episodes, Windows, chunk_distances, draw_picks, gather_windows

LOSS_FILE = "loss.csv"
_LOG_EVERY = 10


class NonFiniteLossError(PolicyError):
    """The loss became NaN or infinite; nothing of that step was kept."""


class Trainer:
    """One run: model, optimizer, moving average and the step that comes next.

    Every random draw depends on (seed, step) alone, so a resumed run repeats the loss curve of an unbroken one.
    """

    def __init__(self, config: TrainingConfig, spec: PolicySpec, episodes: Episodes) -> None:
        torch.manual_seed(config.seed)
        self.config, self.spec, self.episodes = config, spec, episodes
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = DiffusionPolicy(spec, config.model)
        self._fit_scaling()
        self.model.to(self.device)
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        group = config.optimizer
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=group.learning_rate, betas=group.betas, weight_decay=group.weight_decay
        )
        self.step = 0

    def resume(self) -> None:
        """Go on from the checkpoint in the output folder, if there is one.

        Raises:
            ConfigurationError: the checkpoint was made by another configuration. What does not change what is learned may
                differ: the number of steps still to go, folders, threads, and how often to save.
        """
        checkpoint = load_checkpoint(self.config.output)
        if checkpoint is None:
            return
        if _what_is_learned(checkpoint.config) != _what_is_learned(self.config):
            raise ConfigurationError(
                f"'{self.config.output}' holds a run of another configuration: choose another output or delete it"
            )
        self.model.load_state_dict(checkpoint.model)
        self.average = {name: value.to(self.device) for name, value in checkpoint.average.items()}
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.step = checkpoint.step

    def run(self, on_step: Callable[[int, float], None], should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train to ``config.steps`` or until asked to stop; logs the loss, and writes checkpoints on the way and at the end."""
        log = LossLog(self.config.output / LOSS_FILE, self.step)
        try:
            for batch in self._batches():
                loss = self.train_step(batch)
                log.add(self.step, loss)
                on_step(self.step, loss)
                if should_stop():
                    break
                if self.step % self.config.checkpoint_every == 0:
                    self.save()
            self.save()
        finally:
            log.close()

    def train_step(self, batch: Windows) -> float:
        """One optimizer step; returns the loss. Raises NonFiniteLossError."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optimizer, self.step, self.config.steps)
        loss = self._loss(batch)
        if not math.isfinite(loss.item()):
            raise NonFiniteLossError(
                f"loss is {loss.item()} at step {self.step}: lower the learning rate or use float32"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.gradient_clip)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return loss.item()

    def save(self) -> None:
        state = {name: value.cpu() for name, value in self.model.state_dict().items()}
        average = {name: value.cpu() for name, value in self.average.items()}
        save_checkpoint(
            self.config.output,
            Checkpoint(self.step, self.config, self.spec, state, average, self.optimizer.state_dict()),
        )

    def _fit_scaling(self) -> None:
        """Statistics over every tick's joints, and over the actions of every tick's chunk as the network sees them."""
        joints, actions = torch.from_numpy(self.episodes.joints), torch.from_numpy(self.episodes.actions)
        if self.model.relative:
            actions = torch.from_numpy(chunk_distances(self.episodes, self.spec, self.model.anchor_columns))
        self.model.scaling.fit(joints, actions)

    def _batches(self) -> Iterator[Windows]:
        config = self.config
        stride = config.context.stride_ticks
        while self.step < config.steps:
            generator = np.random.default_rng([config.seed, self.step])
            picks = draw_picks(self.episodes, config.batch_windows, config.windows_per_episode, stride, generator)
            yield gather_windows(self.episodes, self.spec, picks)

    def _loss(self, batch: Windows) -> Tensor:
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            context = self._context(batch)
            return self.model.loss(context, torch.from_numpy(batch.actions).to(self.device), generator)

    def _context(self, batch: Windows) -> Tensor:
        """Encode each distinct frame once, then lay the embeddings out as context rows (B, T, D)."""
        images = {
            name: torch.from_numpy(images[batch.frames]).to(self.device)
            for name, images in self.episodes.images.items()
        }
        joints = torch.from_numpy(self.episodes.joints[batch.frames]).to(self.device)
        rows = torch.cat([self.model.encode(images).float(), joints], dim=-1)
        ages = torch.from_numpy(batch.ages_s).to(self.device)[..., None]
        return torch.cat([ages, rows[torch.from_numpy(batch.slots).to(self.device)]], dim=-1)

    def _update_average(self) -> None:
        config = self.config.optimizer
        decay = min(config.ema_max, 1 - (1 + self.step) ** -config.ema_power)
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)


class LossLog:
    """``loss.csv`` with one line per ten steps; on resuming, lines from the step on are dropped and written anew."""

    def __init__(self, file: Path, step: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if file.exists():
            with file.open(newline="") as stream:
                kept = [row for row in csv.reader(stream) if row and row[0].isdigit() and int(row[0]) <= step]
        self._stream = file.open("w", newline="")
        self._writer = csv.writer(self._stream)
        self._writer.writerow(["step", "loss"])
        self._writer.writerows(kept)
        self._pending: list[float] = []

    def add(self, step: int, loss: float) -> None:
        self._pending.append(loss)
        if step % _LOG_EVERY == 0:
            self._writer.writerow([step, f"{np.mean(self._pending):.6f}"])
            self._stream.flush()
            self._pending.clear()

    def close(self) -> None:
        self._stream.close()


def _what_is_learned(config: TrainingConfig) -> TrainingConfig:
    """The configuration without what may differ between the parts of one run."""
    chunk = dataclasses.replace(config.chunk, replan_every_ticks=1)
    return dataclasses.replace(config, steps=0, output=Path(), threads=0, checkpoint_every=1, chunk=chunk)


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Linear warm-up, then cosine to zero at ``steps``."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
