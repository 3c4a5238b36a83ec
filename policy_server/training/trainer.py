"""The training loop: batches in, checkpoints and a loss curve out; resumes where it stopped."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from policy_server.lora.injection import (
    adapter_tensors,
    check_encoder_goes_with_adapter,
    check_encoder_is_of_base,
    inject_adapter,
    is_adapted,
    train_adapter_alone,
)
from policy_server.lora.weights import adapter_pairs, base_state, merged_state
from policy_server.model.policy import DiffusionPolicy
from policy_server.muon.optimizer import Muon
from policy_server.runtime.errors import ConfigurationError, PolicyError
from policy_server.runtime.manifest import PolicySpec
from policy_server.training.batches import BatchReader
from policy_server.training.checkpoint import CHECKPOINT_FILE, Checkpoint, load_checkpoint, load_start, save_checkpoint
from policy_server.training.configuration import OptimizerConfig, TrainingConfig, ValidationConfig
from policy_server.training.distributed import World
from policy_server.training.episodes import Episodes
from policy_server.training.loss_log import LossLog, StepResult
from policy_server.training.optimizers import make_optimizer, make_spectrum_log
from policy_server.training.policy_loss import PolicyLoss
from policy_server.training.prefetch import Prefetcher
from policy_server.training.rows import Batch, load_encoder_weights
from policy_server.training.teacher import Teacher, check_encoder, check_hash, read_teacher, start_student
from policy_server.training.validation import Rollouts, Validation
from policy_server.training.windows import chunk_extremes


class NonFiniteLossError(PolicyError):
    """The loss or its gradient became NaN or infinite; nothing of that step was kept."""


class Trainer:
    """One run: model, optimizer, moving average and the step that comes next.

    Every random draw depends on (seed, step, batch) alone, so a resumed run repeats the loss curve of an unbroken one. Process
    ``rank`` of ``size`` takes the batches rank, rank + size, … of a step.
    """

    def __init__(
        self, config: TrainingConfig, spec: PolicySpec, episodes: Episodes, world: World | None = None
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.spec, self.episodes = config, spec, episodes
        self.world = world or World()
        self.model = DiffusionPolicy(spec, config.model)
        self.model.scaling.fit(
            torch.from_numpy(episodes.states),
            torch.from_numpy(chunk_extremes(episodes, spec, config.model.actions == "relative")),
        )
        self.teacher = self._take_teacher() if config.distill.teacher is not None else None
        if config.start_from is not None:
            load_start(self.model, config.start_from, config.start_checkpoint)
        if config.encoder.weights is not None:
            started = {name: value.clone() for name, value in self.model.encoder.state_dict().items()}
            load_encoder_weights(self.model, config.encoder.weights)
            if config.lora.rank and not (config.output / CHECKPOINT_FILE).exists():  # else what it began with is in there
                check_encoder_is_of_base(self.model, started)
        if self.teacher is not None:
            check_encoder(self.model, self.teacher, config)
        if config.lora.rank:
            inject_adapter(self.model, config.lora)
            check_encoder_goes_with_adapter(self.model, config.encoder.mode)
        self.model.to(self.world.device)
        self.reader = BatchReader(config, spec, episodes)
        self.average = self._averaged_tensors()
        self._parameters = dict(self.model.named_parameters())  # walking a model of many modules takes a millisecond
        self.optimizer = make_optimizer(self.model, config.optimizer, self.world.size)
        self.step = 0
        self.worked_s = self.waited_s = 0.0
        self._pending_log: list[list[float]] = []
        self._loss: PolicyLoss | None = None
        self._shared: DistributedDataParallel | None = None

    @property
    def busy_fraction(self) -> float:
        """The share of the time so far in which the trainer computed; the rest it waited for data."""
        total_s = self.worked_s + self.waited_s
        return self.worked_s / total_s if total_s else 1.0

    @property
    def batches_per_step(self) -> int:
        """Over all processes."""
        return self.config.accumulate * self.world.size

    def resume(self) -> None:
        """Go on from the checkpoint in the output folder, if there is one.

        Raises:
            ConfigurationError: the checkpoint was made by another configuration or on other episodes. What does not change
                what is learned may differ: the number of steps still to go, folders, threads, how often to save and validate,
                and how the batches of a step are divided among processes.
            TeacherError: the teacher's weights are no longer those that the run began with.
        """
        checkpoint = load_checkpoint(self.config.output)
        if checkpoint is None:
            return
        if self.config.distill.teacher is not None:
            check_hash(self.config, checkpoint.config.distill.teacher_hash, self.config.distill.teacher_hash)
        if what_is_learned(checkpoint.config) != what_is_learned(self.config):
            raise ConfigurationError(
                f"'{self.config.output}' holds a run of another configuration: choose another output or delete it"
            )
        if checkpoint.episodes != self.episodes.fingerprint:
            raise ConfigurationError(
                f"'{self.config.output}' holds a run on other episodes than those now in '{self.config.dataset}': "
                "choose another output, or give episodes=N as it was"
            )
        if checkpoint.batches_per_step != self.batches_per_step:
            raise ConfigurationError(
                f"'{self.config.output}' was trained with {checkpoint.batches_per_step} batches per step, this is {self.batches_per_step}: "
                "accumulate times the number of processes must stay the same"
            )
        self.model.load_state_dict(checkpoint.model)
        average = checkpoint.adapter if self.config.lora.rank else checkpoint.average
        self.average = {name: value.to(self.world.device) for name, value in average.items()}
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.step = checkpoint.step
        self._pending_log = checkpoint.pending_log

    def run(
        self,
        on_step: Callable[[int, StepResult], None] = lambda step, result: None,
        should_stop: Callable[[], bool] = lambda: False,
        on_validation: Callable[[Rollouts], None] = lambda rollouts: None,
    ) -> None:
        """Train to ``config.steps`` or until asked to stop; logs the loss, validates, writes checkpoints on the way and at the end.

        Raises:
            NonFiniteLossError: names the step; the last checkpoint stays.
            ValidationError: the validation command failed.
        """
        record = _Record(self, should_stop, on_validation) if self.world.is_first else None
        try:
            self._validate(record)  # a run that was stopped in its rollouts goes on there
            with Prefetcher(self._read, range(self.step, self.config.steps)) as ahead:
                for _, batches in ahead:
                    result = self._timed_step(batches, ahead.waited_s)
                    if record is not None:
                        record.log.add(self.step, result)
                        record.measure_spectrum(self.step)
                        self._pending_log = record.log.pending
                    on_step(self.step, result)
                    if self.world.any(should_stop()):
                        break
                    if self.step % self.config.checkpoint_every == 0 or self._is_validation_due():
                        self.save()
                    self._validate(record)
            self.save()
        finally:
            if record is not None:
                record.log.close()

    def train_step(self, batches: Sequence[Batch]) -> tuple[float, float]:
        """One optimizer step over this process' ``batches``; returns the loss over all processes and the gradient's norm.

        Raises NonFiniteLossError before anything is changed.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optimizer, self.step, self.config.steps)
        self._prepare_loss()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.world.device)
        for i, batch in enumerate(batches):
            with self._gradients_stay_here(unless=i == len(batches) - 1):
                loss = self._batch_loss(batch, i * self.world.size + self.world.rank) / len(batches)
                loss.backward()
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(
            self._parameters.values(), self.config.optimizer.gradient_clip, foreach=True
        )
        mean, gradient_norm = torch.stack([self.world.mean(total), norm]).tolist()
        for name, value in (("loss", mean), ("gradient", gradient_norm)):
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"{name} is {value} at step {self.step}: lower the learning rate or use float32; the last checkpoint is kept"
                )
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return mean, gradient_norm

    def save(self) -> None:
        """Write the checkpoint, from the first process."""
        if not self.world.is_first:
            return
        state = {name: value.cpu() for name, value in self.model.state_dict().items()}
        average = {name: value.cpu() for name, value in self.average.items()}
        lora = self.config.lora
        merged = (
            merged_state(base_state(state), adapter_pairs(average), lora.alpha / lora.rank) if lora.rank else average
        )
        save_checkpoint(
            self.config.output,
            Checkpoint(
                step=self.step,
                config=self.config,
                spec=self.spec,
                model=state,
                average=merged,
                optimizer=self.optimizer.state_dict(),
                batches_per_step=self.batches_per_step,
                episodes=self.episodes.fingerprint,
                pending_log=self._pending_log,
                adapter=average if lora.rank else {},
            ),
        )

    def _take_teacher(self) -> Teacher:
        """Read the teacher, start the student from it, and note in the configuration which weights it has."""
        teacher = read_teacher(self.config, self.spec, self.episodes.fingerprint)
        start_student(self.model, teacher, self.config.model.prediction)
        teacher.policy.to(self.world.device)
        distill = dataclasses.replace(self.config.distill, teacher_hash=teacher.weights_hash)
        self.config = dataclasses.replace(self.config, distill=distill)
        return teacher

    def _averaged_tensors(self) -> dict[str, Tensor]:
        """Copies of what the moving average is of: all of the model's state, or with an adapter the adapter alone."""
        if self.config.lora.rank:
            return adapter_tensors(self.model)
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _read(self, step: int) -> list[Batch]:
        world = self.world
        return [self.reader.read(step, i * world.size + world.rank) for i in range(self.config.accumulate)]

    def _timed_step(self, batches: Sequence[Batch], waited_s: float) -> StepResult:
        step, begun = self.step, time.perf_counter()
        loss, gradient_norm = self.train_step(batches)
        worked_s = time.perf_counter() - begun
        self.worked_s += worked_s
        self.waited_s += waited_s
        return StepResult(
            loss=loss,
            gradient_norm=gradient_norm,
            learning_rate=learning_rate(self.config.optimizer, step, self.config.steps),
            context_length=self.reader.context_length(step),
            seconds=worked_s + waited_s,
            waited_fraction=waited_s / (worked_s + waited_s),
        )

    def _prepare_loss(self) -> None:
        """Freeze or free the encoder as this step asks for; processes must agree anew on what is shared when that changes."""
        encoder = self.config.encoder
        thawed = encoder.unfreeze_at_step is not None and self.step >= encoder.unfreeze_at_step
        trains_encoder = encoder.mode == "end_to_end" or thawed
        if self.config.lora.rank:
            trains_encoder = is_adapted(self.model.encoder)
        if self._loss is not None and self._loss.trains_encoder == trains_encoder:
            return
        self._loss = PolicyLoss(self.model, self.config, trains_encoder, self.teacher)
        if self.config.lora.rank:
            train_adapter_alone(self.model)  # an encoder that learns has just been freed as a whole
        if self.world.size > 1:
            devices = [self.world.device] if self.world.device.type == "cuda" else None
            self._shared = DistributedDataParallel(self._loss, device_ids=devices, forward_sync_buffers=False)

    def _batch_loss(self, batch: Batch, number: int) -> Tensor:
        loss = self._shared or self._loss
        assert loss is not None
        return loss(batch.to(self.world.device), self.step, number)

    def _gradients_stay_here(self, unless: bool) -> AbstractContextManager[None]:
        """Only the last batch of a step sends gradients to the other processes."""
        return nullcontext() if unless or self._shared is None else self._shared.no_sync()

    def _update_average(self) -> None:
        config = self.config.optimizer
        decay = min(config.ema_max, 1 - (1 + self.step) ** -config.ema_power)
        parameters = [(name, value) for name, value in self._parameters.items() if name in self.average]
        names, values = zip(*parameters, strict=True)
        with torch.no_grad():
            torch._foreach_lerp_([self.average[name] for name in names], list(values), 1 - decay)

    def _is_validation_due(self) -> bool:
        """Whether rollouts are due at this step: every so many, and at the end."""
        every = self.config.validation.every
        return every > 0 and self.step > 0 and (self.step % every == 0 or self.step == self.config.steps)

    def _validate(self, record: "_Record | None") -> None:
        """Rollouts, if they are due and this step has none yet; ``checkpoint.pt`` must be of this step."""
        if not self._is_validation_due():
            return
        if record is not None:
            record.validate(self.step)
        self.world.wait()


class _Record:
    """What the first process alone keeps: the loss curve and the rollouts."""

    def __init__(
        self, trainer: Trainer, should_stop: Callable[[], bool], on_validation: Callable[[Rollouts], None]
    ) -> None:
        config = trainer.config
        self.log = LossLog(config.output, trainer.step, trainer._pending_log)
        self._spectrum = make_spectrum_log(trainer.model, config.optimizer, config.output, trainer.step)
        self._optimizer = trainer.optimizer
        self._should_stop, self._on_validation = should_stop, on_validation
        command = config.validation.command
        self._validation = (
            Validation(config.output, command, trainer.spec.task, trainer.step) if config.validation.every else None
        )

    def measure_spectrum(self, step: int) -> None:
        """Of what the last optimizer step orthonormalised, if it is due."""
        if self._spectrum is not None and isinstance(self._optimizer, Muon):
            self._spectrum.observe(step, self._optimizer.matrices())

    def validate(self, step: int) -> None:
        if self._validation is None or self._validation.last_step >= step:
            return
        rollouts = self._validation.run(step, self._should_stop)
        if rollouts is not None:
            self.log.add_scalar("validation/success_rate", rollouts.success_rate, step)
            self._on_validation(rollouts)


def what_is_learned(config: TrainingConfig) -> TrainingConfig:
    """The configuration without what may differ between the parts of one run.

    The dataset's path and choice of episodes are left out because the checkpoint knows the episodes themselves, and the teacher's path
    because ``teacher_hash`` knows its weights.
    """
    return dataclasses.replace(
        config,
        dataset=Path(),
        output=Path(),
        episodes=0,
        damaged_episodes="refuse",
        steps=0,
        accumulate=1,
        threads=0,
        checkpoint_every=1,
        chunk=dataclasses.replace(config.chunk, replan_every_ticks=1),
        validation=ValidationConfig(),
        sampling_steps=1,
        distill=dataclasses.replace(config.distill, teacher=None, teacher_checkpoint=None),
    )


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Linear warm-up, then cosine to zero at ``steps``."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
