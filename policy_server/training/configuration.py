"""What a training run is: one typed configuration, written into its checkpoint and its bundle."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from policy_server.model.policy import ModelConfig
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
    longest length grow from ``shortest`` to the full one over the first ``ramp`` of the steps; ``sprinkle`` shows the full
    context with probability ``full_share`` and any shorter one otherwise. Past actions are targets only as far back as
    observations are shown (limited past prediction).
    ``dropout``: probability that a window sees nothing but its newest observation (the classic remedy against copying the past).
    """

    curriculum: Literal["full", "progressive", "sprinkle"] = "full"
    shortest: int = 2
    ramp: float = 0.7
    full_share: float = 0.8
    dropout: float = 0.0


@dataclass(frozen=True)
class EncoderTraining:
    """What becomes of the image encoder.

    ``end_to_end`` trains it with the policy. ``frozen`` keeps ``weights``, and encodes frames as it goes; ``cached`` keeps them
    and reads embeddings that were written once. From ``unfreeze_at_step`` on (not with ``cached``) it is trained with the rest.
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
class OptimizerConfig:
    """AdamW with warm-up, cosine decay, gradient clipping, and an exponential moving average of the weights."""

    learning_rate: float = 6e-4
    betas: tuple[float, float] = (0.95, 0.999)
    weight_decay: float = 1e-6
    warmup_steps: int = 300
    gradient_clip: float = 1.0
    ema_power: float = 0.75
    ema_max: float = 0.9999


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    The policy sees ``cameras``, or, with ``features``, the dataset's features instead. ``episodes`` takes the first so many of the
    dataset (0: all); a damaged one ends the run unless ``damaged_episodes`` is ``skip``.
    ``windows_per_episode`` windows of one episode share their frames, which are then encoded once; ``accumulate`` batches make one
    optimizer step; ``precision`` is ``float32`` or ``bfloat16`` (autocast); ``threads`` 0 leaves the number to torch.
    ``past_targets``: which past actions of the chunk are learned (past-token prediction, arXiv 2505.09561): all, none, or the
    last so many.
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
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    diffusion_steps: int = 100
    sampling_steps: int = 10


def policy_spec(config: TrainingConfig, dataset: DatasetInfo) -> PolicySpec:
    """The policy that this configuration trains on this dataset. Raises ConfigurationError when they do not fit."""
    levels = 2 ** (len(config.model.unet.widths) - 1)
    horizon = config.chunk.past_steps + config.chunk.future_steps
    if horizon % levels:
        raise ConfigurationError(
            f"chunk of {horizon} steps: must be a multiple of {levels} for {len(config.model.unet.widths)} UNet widths"
        )
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
            dataset.action_joints, config.chunk.past_steps, config.chunk.future_steps, config.chunk.replan_every_ticks
        ),
        sampler=SamplerSpec("ddim", config.sampling_steps, config.diffusion_steps),
        features=dataset.features if config.features else (),
    )


def _camera_spec(name: str, view: ViewConfig, recorded: Sequence[CameraShape]) -> CameraSpec:
    by_name = {camera.name: camera for camera in recorded}
    if name not in by_name:
        raise ConfigurationError(f"cameras: '{name}' was not recorded; the dataset has {', '.join(by_name)}")
    source = by_name[name]
    height, width = round(source.height * view.crop), round(source.width * view.crop)
    crop = ((source.height - height) // 2, (source.width - width) // 2, height, width)
    return CameraSpec(name, source.height, source.width, crop, view.height, view.width)
