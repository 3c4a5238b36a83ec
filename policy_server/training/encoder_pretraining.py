"""Train the image encoder alone, on a dataset's pictures; resumes where it stopped."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policy_server.model.encoder import ObservationEncoder
from policy_server.runtime import configuration
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import PolicySpec
from policy_server.runtime.whole_file import whole_file
from policy_server.training.augmentation import augment
from policy_server.training.checkpoint import read_state
from policy_server.training.configuration import OptimizerConfig, TrainingConfig
from policy_server.training.draws import Purpose, numpy_generator, torch_generator
from policy_server.training.encoder_objectives import (
    DynamicsConfig,
    DynamicsObjective,
    ReconstructionConfig,
    ReconstructionObjective,
)
from policy_server.training.episodes import Episodes
from policy_server.training.loss_log import LossLog, StepResult
from policy_server.training.prefetch import Prefetcher
from policy_server.training.trainer import NonFiniteLossError, learning_rate

STATE_FILE = "pretraining.pt"

_MEAN_TICKS = 2_000  # a mean picture does not change with more

Pictures = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class PretrainingConfig:
    """How the encoder is trained before the long-context head.

    ``objective``: ``short_policy`` trains the policy itself end to end with a context of ``short_context`` and takes its encoder
    (its optimizer and batch are those of the policy); ``dynamics`` and ``reconstruction`` learn from the pictures alone,
    ``batch_ticks`` of them per step. The last ``held_out`` share of the episodes is never trained on: there a linear probe shows
    how much of the task's features the embedding keeps.
    """

    objective: Literal["short_policy", "dynamics", "reconstruction"] = "short_policy"
    steps: int = 4000
    held_out: float = 0.1
    short_context: int = 2
    batch_ticks: int = 160
    learning_rate: float = 1e-3
    weight_decay: float = 1e-6
    warmup_steps: int = 100
    gradient_clip: float = 1.0
    checkpoint_every: int = 500
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)


class Pretraining:
    """One run of ``dynamics`` or ``reconstruction`` in ``folder``; every random draw depends on (seed, step) alone.

    Args:
        training: the policy that the encoder is for: its seed, encoder, precision and augmentation.
        episodes: those to train on.
    """

    def __init__(
        self, config: PretrainingConfig, training: TrainingConfig, spec: PolicySpec, episodes: Episodes, folder: Path
    ) -> None:
        torch.manual_seed(training.seed)
        self.config, self.training, self.episodes, self.folder = config, training, episodes, folder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        encoder = ObservationEncoder(spec.cameras, training.model.encoder)
        self.objective = self._objective(encoder).to(self.device)
        self.optimizer = torch.optim.AdamW(
            [parameter for parameter in self.objective.parameters() if parameter.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.step = 0
        self._pending_log: list[list[float]] = []

    @property
    def encoder(self) -> ObservationEncoder:
        return self.objective.encoder

    def resume(self) -> None:
        """Go on from the state in the folder, if there is one. Raises ConfigurationError when it is another run's."""
        file = self.folder / STATE_FILE
        if not file.exists():
            return
        state = read_state(file)
        if state["identity"] != self._identity():
            raise ConfigurationError(
                f"'{file}' is of another configuration or other episodes: choose another output or delete it"
            )
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self._pending_log = state["step"], state["pending_log"]

    def run(self, on_step: Callable[[int, StepResult], None], should_stop: Callable[[], bool] = lambda: False) -> None:
        """Train to ``config.steps`` or until asked to stop; writes the loss curve, and saves on the way and at the end.

        Raises:
            NonFiniteLossError: what was saved before stays.
        """
        log = LossLog(self.folder, self.step, self._pending_log)
        try:
            with Prefetcher(self._read, range(self.step, self.config.steps)) as ahead:
                for _, pictures in ahead:
                    result = self._timed_step(pictures, ahead.waited_s)
                    log.add(self.step, result)
                    on_step(self.step, result)
                    stopping = should_stop() or self.step == self.config.steps
                    if stopping or self.step % self.config.checkpoint_every == 0:
                        self._save(log.pending)
                    if stopping:
                        break
        finally:
            log.close()

    def _timed_step(self, pictures: Pictures, waited_s: float) -> StepResult:
        begun_s = time.perf_counter()
        loss, gradient_norm, rate = self.train_step(pictures)
        seconds = time.perf_counter() - begun_s + waited_s
        return StepResult(loss, gradient_norm, rate, self.window, seconds, waited_s / seconds)

    def train_step(self, pictures: Pictures) -> tuple[float, float, float]:
        """One optimizer step on pictures (windows, ticks, height, width, 3); returns loss, gradient norm and learning rate.

        Raises NonFiniteLossError before anything is changed.
        """
        config = self.config
        schedule = OptimizerConfig(learning_rate=config.learning_rate, warmup_steps=config.warmup_steps)
        rate = learning_rate(schedule, self.step, config.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        clean = {name: torch.from_numpy(images).to(self.device) for name, images in pictures.items()}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bfloat16"):
            loss = self.objective.loss(self._augmented(clean), clean)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), config.gradient_clip)
        for name, value in (("loss", loss), ("gradient", norm)):
            if not torch.isfinite(value):
                raise NonFiniteLossError(
                    f"encoder's {name} is {value.item()} at step {self.step}: lower encoder.learning_rate or use float32; "
                    "the last saved state is kept"
                )
        self.optimizer.step()
        self.objective.after_step()
        self.step += 1
        return loss.item(), norm.item(), rate

    @property
    def window(self) -> int:
        """Ticks that are seen together."""
        return self.config.dynamics.window if self.config.objective == "dynamics" else 1

    def _objective(self, encoder: ObservationEncoder) -> DynamicsObjective | ReconstructionObjective:
        if self.config.objective == "dynamics":
            return DynamicsObjective(encoder, self.config.dynamics)
        if self.config.objective == "reconstruction":
            return ReconstructionObjective(encoder, mean_pictures(self.episodes), self.config.reconstruction)
        raise ConfigurationError("encoder.objective=short_policy is trained as a policy, not from pictures alone")

    def _read(self, step: int) -> Pictures:
        ticks = draw_windows(
            self.episodes.starts,
            self.config.batch_ticks // self.window,
            self.window,
            self.config.dynamics.stride_ticks,
            numpy_generator(Purpose.WINDOWS, self.training.seed, step),
        )
        return {name: frames[ticks] for name, frames in self.episodes.images.items()}

    def _augmented(self, clean: dict[str, Tensor]) -> dict[str, Tensor]:
        """The pictures as the encoder sees them; one draw per window."""
        windows, ticks = next(iter(clean.values())).shape[:2]
        window_of_image = torch.arange(windows, device=self.device).repeat_interleave(ticks)
        generator = torch_generator(Purpose.AUGMENTATION, self.training.seed, self.step)
        flat = {name: images.flatten(0, 1) for name, images in clean.items()}
        changed = augment(flat, window_of_image, self.training.augmentation, generator)
        return {name: images.unflatten(0, (windows, ticks)) for name, images in changed.items()}

    def _save(self, pending_log: list[list[float]]) -> None:
        state = {
            "step": self.step,
            "identity": self._identity(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pending_log": pending_log,
        }
        with whole_file(self.folder / STATE_FILE) as temporary:
            torch.save(state, temporary)

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to be gone on with."""
        training = configuration.to_plain(self.training)
        kept = {key: training[key] for key in ("cameras", "seed", "precision", "augmentation")}
        config = {k: v for k, v in configuration.to_plain(self.config).items() if k != "checkpoint_every"}
        return {
            **kept,
            "encoder": training["model"]["encoder"],
            "config": config,
            "episodes": self.episodes.fingerprint,
        }


def draw_windows(
    starts: NDArray[np.int64], windows: int, window: int, stride_ticks: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Ticks (windows, window) of random windows, each within one episode; an episode weighs as its length.

    In an episode that is too short for a whole window the first tick is repeated.
    """
    drawn = generator.integers(0, starts[-1], windows)
    episode = np.searchsorted(starts, drawn, side="right") - 1
    first, reach = starts[episode], (window - 1) * stride_ticks
    fits = starts[episode + 1] - first > reach
    newest = np.where(fits, np.maximum(drawn, first + reach), drawn)
    return np.maximum(newest[:, None] - stride_ticks * np.arange(window - 1, -1, -1), first[:, None])


def mean_pictures(episodes: Episodes) -> dict[str, Tensor]:
    """Each camera's mean picture, float32 (height, width, 3) in 0 to 255, over ticks spread evenly over the episodes."""
    ticks = len(episodes.stamps_ns)
    chosen = np.linspace(0, ticks - 1, min(ticks, _MEAN_TICKS)).astype(np.int64)
    return {
        name: torch.from_numpy(frames[chosen].mean(axis=0, dtype=np.float64).astype(np.float32))
        for name, frames in episodes.images.items()
    }
