"""What a training run is: one typed configuration, written into its checkpoint and its bundle."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from policy_server.model.policy import ModelConfig, check_model
from policy_server.muon.adaptive import AdaptiveConfig
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.manifest import ActionSpec, CameraSpec, HistorySpec, PolicySpec, SamplerSpec
from policy_server.runtime.recording import CameraShape, DatasetInfo


@dataclass(frozen=True)
class ViewConfig:
    """How a recorded camera is shown to the encoder: centred crop as a share of the picture, then this size in pixels."""

    height: int = 64
    width: int = 64
    crop: float = 1.0


@dataclass(frozen=True)
class ContextConfig:
    """``length`` observations, ``stride_ticks`` apart, the newest last."""

    length: int = 16
    stride_ticks: int = 4


@dataclass(frozen=True)
class ChunkConfig:
    """Rows of the action chunk; the past is capped so that the chunk does not grow with the context."""

    past_steps: int = 4
    future_steps: int = 12
    replan_every_ticks: int = 4


@dataclass(frozen=True)
class HistoryConfig:
    """How much of the context each training step shows.

    ``curriculum``: ``full`` always shows all of it (naive training). The others are Variable History Training
    (arXiv 2606.16447): at every step a length between ``shortest`` and the context's is drawn. ``progressive`` lets the
    longest length grow from ``shortest`` to the full one over the first ``ramp`` of the steps, and draws the longest with
    probability ``longest_share``, else evenly; ``sprinkle`` shows the full context with probability ``full_share`` and any
    shorter one otherwise. Past actions are targets only as far back as
    observations are shown (limited past prediction).
    ``dropout``: probability that a window sees nothing but its newest observation (the classic remedy against copying the past).
    """

    curriculum: Literal["full", "progressive", "sprinkle"] = "full"
    shortest: int = 2
    ramp: float = 0.7
    longest_share: float = 0.0
    full_share: float = 0.8
    dropout: float = 0.0


@dataclass(frozen=True)
class EncoderTraining:
    """What becomes of the image encoder.

    ``end_to_end`` trains it with the policy. ``frozen`` keeps ``weights``, and encodes frames as it goes; ``cached`` keeps them
    and reads embeddings that ``policy_server.train_stages`` has written once. From ``unfreeze_at_step`` on (not with ``cached``)
    it is trained with the rest.
    ``weights``: safetensors file to start from.
    """

    mode: Literal["end_to_end", "frozen", "cached"] = "end_to_end"
    weights: Path | None = None
    unfreeze_at_step: int | None = None


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of the training pictures, the same for all frames of one episode in a batch.

    ``shift_pixels``: random crop of the picture padded by so many pixels on each side (edge repeated). ``brightness``, ``contrast``,
    ``saturation``: largest relative change.
    """

    shift_pixels: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0


@dataclass(frozen=True)
class ValidationConfig:
    """Rollouts that choose the checkpoint. Every ``every`` steps (0: never) the averaged weights are exported and ``command`` is
    run, a process of its own; it must write ``successes`` and ``episodes`` as JSON. ``{python}``, ``{bundle}``, ``{task}`` and
    ``{json}`` are filled in.
    """

    every: int = 0
    command: tuple[str, ...] = (
        *("{python}", "-m", "sim_bridge.evaluate", "--bundle", "{bundle}", "--task", "{task}"),
        *("--episodes", "20", "--seed", "5000", "--workers", "1", "--json", "{json}"),
    )


@dataclass(frozen=True)
class MuonSettings:
    """What ``optimizer.kind=muon`` does with matrices (``policy_server.muon``).

    ``recipe``: how each layer's momentum is orthonormalised: ``adaptive`` measures the spectra and sets itself (``adaptive`` says
    when), ``fixed_five`` is five steps of Jordan's quintic, a path is a recipe file of ``python -m policy_server.muon recipe``.
    ``costs``: what an adaptive recipe takes operations to cost: ``declared``, the same on every machine, or ``measured`` on this one at
    the start, so that the recipe depends on the machine.
    ``spectrum_every``: write the spectra to the folder ``spectrum`` of the run every so many steps (0: never).
    """

    momentum: float = 0.95
    nesterov: bool = True
    scaling: Literal["original", "match_rms_adamw", "none"] = "match_rms_adamw"
    recipe: Literal["adaptive", "fixed_five"] | Path = "adaptive"
    adaptive: AdaptiveConfig = field(default_factory=AdaptiveConfig)
    costs: Literal["declared", "measured"] = "declared"
    spectrum_every: int = 0


@dataclass(frozen=True)
class OptimizerConfig:
    """Warm-up, cosine decay, gradient clipping, and an exponential moving average of the weights.

    ``kind``: ``adamw`` for all, or ``muon`` for the hidden matrices and AdamW for the rest, both with ``learning_rate``;
    ``muon`` holds what the matrices get. ``torch_muon`` is ``torch.optim.Muon`` for hidden linear layers and AdamW for the rest, to
    compare with; of ``muon`` it reads momentum, nesterov and scaling.
    """

    kind: Literal["adamw", "muon", "torch_muon"] = "adamw"
    learning_rate: float = 6e-4
    betas: tuple[float, float] = (0.95, 0.999)
    weight_decay: float = 1e-6
    warmup_steps: int = 300
    gradient_clip: float = 1.0
    ema_power: float = 0.75
    ema_max: float = 0.9999
    muon: MuonSettings = field(default_factory=MuonSettings)


@dataclass(frozen=True)
class LoraSettings:
    """A low-rank adapter that is trained instead of the networks (LoRA, arXiv 2106.09685); what it does not change is frozen.

    ``rank`` 0: none. The change of a weight is ``alpha / rank`` times a product of matrices of that rank. ``targets``: the layers
    it is for, by role (``conditioning``, ``attention``, ``feedforward``, ``conv``, ``ends``, ``encoder``), by group of roles
    (``denoiser``: all but the encoder; ``all``), or by pattern of module paths, e.g. ``denoiser.unet.middle.*``.
    """

    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = ("denoiser",)


@dataclass(frozen=True)
class DistillationConfig:
    """A student of few denoising steps, taught by a frozen teacher instead of by the actions of the dataset.

    ``teacher``: folder of the run whose averaged weights teach; none: ordinary training. ``teacher_checkpoint``: its ``best`` or
    ``last`` one; left out, the best where it has one. ``teacher_hash``: sha256 of these weights, filled in when the run begins; other
    weights are refused, so that a student never changes its teacher halfway. ``teacher_steps``: of the DDIM walk whose end is learned.
    ``student_steps``: the student learns to sample in 1, 2, … so many steps.
    """

    teacher: Path | None = None
    teacher_checkpoint: Literal["best", "last"] | None = None
    teacher_hash: str = ""
    teacher_steps: int = 10
    student_steps: int = 3


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    The policy sees ``cameras``, or, with ``features``, the dataset's features instead. ``episodes`` takes the first so many of the
    dataset (0: all); a damaged one ends the run unless ``damaged_episodes`` is ``skip``.
    ``windows_per_episode`` windows of one episode share their frames, which are then encoded once; ``accumulate`` batches of
    every process make one optimizer step; ``precision`` is ``float32`` or ``bfloat16`` (autocast); ``threads`` 0 leaves the
    number to torch.
    ``past_targets``: which of the chunk's past actions are learned (past-token prediction, arXiv 2505.09561): all, none, or the
    last so many; the others are left out of the chunk.
    ``start_from``: folder of a run of the same networks whose averaged weights and scaling this one starts with: its last
    checkpoint's, or with ``start_checkpoint`` ``best`` those that did best in validation rollouts.
    ``lora``: train an adapter on the policy of ``start_from`` instead of its weights.
    ``distill``: train a student of few denoising steps; it starts from its teacher where their networks are the same.
    """

    name: str
    dataset: Path
    output: Path
    cameras: dict[str, ViewConfig] = field(default_factory=dict)
    features: bool = False
    episodes: int = 0
    damaged_episodes: Literal["refuse", "skip"] = "refuse"
    steps: int = 10_000
    batch_windows: int = 128
    windows_per_episode: int = 8
    accumulate: int = 1
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int = 0
    checkpoint_every: int = 500
    context: ContextConfig = field(default_factory=ContextConfig)
    chunk: ChunkConfig = field(default_factory=ChunkConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    past_targets: Literal["all", "none"] | int = "all"
    encoder: EncoderTraining = field(default_factory=EncoderTraining)
    start_from: Path | None = None
    start_checkpoint: Literal["last", "best"] = "last"
    lora: LoraSettings = field(default_factory=LoraSettings)
    distill: DistillationConfig = field(default_factory=DistillationConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    diffusion_steps: int = 100
    sampling_steps: int = 10


def policy_spec(config: TrainingConfig, dataset: DatasetInfo) -> PolicySpec:
    """The policy that this configuration trains on this dataset.

    Past actions that are no targets (``past_targets``) are not in its chunk at all: rows that were never learned would disturb the
    others while sampling.

    Raises:
        ConfigurationError: a setting is out of range, contradicts another, or does not fit the dataset.
    """
    check_settings(config)
    if config.features and not dataset.features:
        raise ConfigurationError(
            f"features: '{config.dataset}' has none recorded: collect it again, or set features=false"
        )
    past_steps = learned_past_steps(config)
    check_model(config.model, past_steps + config.chunk.future_steps)
    offsets = tuple(range((config.context.length - 1) * config.context.stride_ticks, -1, -config.context.stride_ticks))
    cameras = tuple(_camera_spec(name, view, dataset.cameras) for name, view in config.cameras.items())
    return PolicySpec(
        name=config.name,
        task=dataset.task,
        rate_hz=dataset.rate_hz,
        cameras=cameras,
        proprioception_joints=dataset.proprioception_joints,
        history=HistorySpec(offsets, config.model.encoder.embedding_dim * len(cameras)),
        action=ActionSpec(
            dataset.action_joints, past_steps, config.chunk.future_steps, config.chunk.replan_every_ticks
        ),
        sampler=SamplerSpec("ddim", config.sampling_steps, config.diffusion_steps),
        features=dataset.features if config.features else (),
    )


def learned_past_steps(config: TrainingConfig) -> int:
    """How many past actions the chunk has: those of ``chunk.past_steps`` that ``past_targets`` asks for."""
    if isinstance(config.past_targets, int):
        return config.past_targets
    return config.chunk.past_steps if config.past_targets == "all" else 0


def most_sampling_steps(config: TrainingConfig) -> int:
    """In how many denoising steps the policy can sample: a student in those it was taught, any other in all of the schedule's."""
    return config.diffusion_steps if config.distill.teacher is None else config.distill.student_steps


def check_settings(config: TrainingConfig) -> None:
    """Raises ConfigurationError naming the first setting that is out of range or contradicts another."""
    for refused, reason in (
        *_out_of_range(config),
        *_contradictions_of_pictures(config),
        *_contradictions_of_windows(config),
        *_contradictions_of_adapters(config),
        *_contradictions_of_students(config),
    ):
        if refused:
            raise ConfigurationError(reason)


def _out_of_range(config: TrainingConfig) -> Iterator[tuple[bool, str]]:
    """(whether it is refused, why) for each number."""
    at_least = {
        "steps": (config.steps, 1),
        "batch_windows": (config.batch_windows, 1),
        "windows_per_episode": (config.windows_per_episode, 1),
        "accumulate": (config.accumulate, 1),
        "checkpoint_every": (config.checkpoint_every, 1),
        "episodes": (config.episodes, 0),
        "threads": (config.threads, 0),
        "seed": (config.seed, 0),
        "context.length": (config.context.length, 1),
        "context.stride_ticks": (config.context.stride_ticks, 1),
        "chunk.past_steps": (config.chunk.past_steps, 0),
        "chunk.future_steps": (config.chunk.future_steps, 1),
        "chunk.replan_every_ticks": (config.chunk.replan_every_ticks, 1),
        "diffusion_steps": (config.diffusion_steps, 1),
        "sampling_steps": (config.sampling_steps, 1),
        "history.shortest": (config.history.shortest, 1),
        "validation.every": (config.validation.every, 0),
        "optimizer.muon.spectrum_every": (config.optimizer.muon.spectrum_every, 0),
        "augmentation.shift_pixels": (config.augmentation.shift_pixels, 0),
        "encoder.unfreeze_at_step": (config.encoder.unfreeze_at_step or 0, 0),
        "lora.rank": (config.lora.rank, 0),
        "distill.teacher_steps": (config.distill.teacher_steps, 1),
        "distill.student_steps": (config.distill.student_steps, 1),
    }
    for name, (value, least) in at_least.items():
        yield value < least, f"{name}={value}: give {least} or more"
    shares = {
        "history.ramp": config.history.ramp,
        "history.longest_share": config.history.longest_share,
        "history.full_share": config.history.full_share,
        "history.dropout": config.history.dropout,
        "augmentation.brightness": config.augmentation.brightness,
        "augmentation.contrast": config.augmentation.contrast,
        "augmentation.saturation": config.augmentation.saturation,
    }
    for name, share in shares.items():
        yield not 0.0 <= share <= 1.0, f"{name}={share}: give a number from 0 to 1"
    for name, view in config.cameras.items():
        yield not 0.0 < view.crop <= 1.0, f"cameras.{name}.crop={view.crop}: give more than 0, at most 1"


def _contradictions_of_pictures(config: TrainingConfig) -> Iterator[tuple[bool, str]]:
    """(whether it is refused, why), for settings about pictures that cannot go together."""
    encoder = config.encoder
    augmented = config.augmentation != AugmentationConfig()
    yield config.features and bool(config.cameras), "features=true goes without cameras: set cameras={}"
    yield not config.features and not config.cameras, "cameras: give at least one, or set features=true"
    yield (
        config.features and (encoder != EncoderTraining() or augmented),
        "features=true has no pictures: leave encoder and augmentation out",
    )
    yield (
        encoder.mode == "cached" and encoder.weights is None,
        "encoder.mode=cached needs encoder.weights, which its embeddings were written with",
    )
    yield (
        encoder.mode == "frozen" and not (encoder.weights or config.start_from or config.distill.teacher),
        "encoder.mode=frozen needs encoder.weights, start_from or distill.teacher: an encoder that was never trained would be kept",
    )
    yield (
        encoder.unfreeze_at_step is not None and encoder.mode != "frozen",
        f"encoder.unfreeze_at_step goes with encoder.mode=frozen, not {encoder.mode}",
    )
    yield (
        encoder.mode == "cached" and augmented,
        "encoder.mode=cached reads embeddings of unchanged pictures: leave augmentation out, or set encoder.mode=frozen",
    )


def _contradictions_of_windows(config: TrainingConfig) -> Iterator[tuple[bool, str]]:
    """(whether it is refused, why), for what a window shows and asks for."""
    history = config.history
    yield (
        history.curriculum != "full" and history.shortest > config.context.length,
        f"history.shortest={history.shortest} is longer than context.length={config.context.length}",
    )
    yield (
        config.batch_windows % config.windows_per_episode != 0,
        f"batch_windows={config.batch_windows} must be a multiple of windows_per_episode={config.windows_per_episode}",
    )
    yield (
        not 0 <= learned_past_steps(config) <= config.chunk.past_steps,
        f"past_targets={config.past_targets}: give all, none, or 0 to chunk.past_steps={config.chunk.past_steps}",
    )
    yield (
        config.chunk.replan_every_ticks > config.chunk.future_steps,
        f"chunk.replan_every_ticks={config.chunk.replan_every_ticks} is more than chunk.future_steps={config.chunk.future_steps}",
    )
    yield (
        config.sampling_steps > config.diffusion_steps,
        f"sampling_steps={config.sampling_steps} is more than diffusion_steps={config.diffusion_steps}",
    )
    yield (
        config.validation.every > 0 and "{json}" not in " ".join(config.validation.command),
        "validation.command must write its result to {json}",
    )


def _contradictions_of_adapters(config: TrainingConfig) -> Iterator[tuple[bool, str]]:
    """(whether it is refused, why), for an adapter and what it stands on."""
    yield (
        config.start_checkpoint != "last" and config.start_from is None,
        f"start_checkpoint={config.start_checkpoint} goes with start_from",
    )
    lora, encoder = config.lora, config.encoder
    if not lora.rank:
        return
    yield config.start_from is None, f"lora.rank={lora.rank} needs start_from, the run whose policy is adapted"
    yield not 0 < lora.alpha < math.inf, f"lora.alpha={lora.alpha}: give a positive number"
    yield not lora.targets, "lora.targets: give at least one role or pattern, e.g. [denoiser]"
    yield config.optimizer.kind == "torch_muon", "optimizer.kind=torch_muon does not train adapters: use adamw or muon"
    yield (
        encoder.unfreeze_at_step is not None,
        "encoder.unfreeze_at_step trains the encoder itself: leave it out with lora, or adapt the encoder with lora.targets",
    )
    yield (
        encoder.weights is not None and encoder.mode != "cached",
        "encoder.weights replace the encoder of start_from: leave them out with lora, or set encoder.mode=cached",
    )


def _contradictions_of_students(config: TrainingConfig) -> Iterator[tuple[bool, str]]:
    """(whether it is refused, why), for a student and its teacher."""
    distill = config.distill
    if distill.teacher is None:
        yield bool(distill.teacher_hash), "distill.teacher_hash goes with distill.teacher, the run it is of"
        return
    yield (
        config.start_from is not None or config.lora.rank > 0,
        "distill.teacher goes without start_from and lora: a student starts from its teacher, and ordinary training undoes it "
        "(train the teacher on, then distill it again)",
    )
    yield (
        config.model.prediction != "clean",
        f"model.prediction={config.model.prediction}: a student of few steps predicts the clean chunk; set model.prediction=clean",
    )
    yield (
        distill.teacher_steps > config.diffusion_steps,
        f"distill.teacher_steps={distill.teacher_steps} is more than diffusion_steps={config.diffusion_steps}",
    )
    yield (
        distill.student_steps > distill.teacher_steps,
        f"distill.student_steps={distill.student_steps} is more than distill.teacher_steps={distill.teacher_steps}",
    )
    yield (
        config.sampling_steps > distill.student_steps,
        f"sampling_steps={config.sampling_steps}: the student learns 1 to distill.student_steps={distill.student_steps}; "
        "set sampling_steps=1",
    )


def _camera_spec(name: str, view: ViewConfig, recorded: Sequence[CameraShape]) -> CameraSpec:
    by_name = {camera.name: camera for camera in recorded}
    if name not in by_name:
        raise ConfigurationError(f"cameras: '{name}' was not recorded; the dataset has {', '.join(by_name) or 'none'}")
    source = by_name[name]
    height, width = round(source.height * view.crop), round(source.width * view.crop)
    crop = ((source.height - height) // 2, (source.width - width) // 2, height, width)
    return CameraSpec(name, source.height, source.width, crop, view.height, view.width)
