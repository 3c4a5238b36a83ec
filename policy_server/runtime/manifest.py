"""The bundle's manifest: what a policy sees, remembers and answers. The one description that training, export and robot share."""

from dataclasses import dataclass, field
from typing import Any, Literal

from policy_server.runtime.clock import NS_PER_S

SCHEMA_VERSION = 2

Target = Literal["cpu", "gpu"]
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class CameraSpec:
    """One camera as the policy sees it.

    ``source_height``/``source_width`` are the pixels of the published image; ``crop`` is (top, left, height, width) in
    those pixels; the crop is then resized (area) to ``height`` x ``width``, the encoder's input.
    """

    name: str
    source_height: int
    source_width: int
    crop: tuple[int, int, int, int]
    height: int
    width: int


@dataclass(frozen=True)
class HistorySpec:
    """Which past ticks the policy reads. ``offsets_ticks`` runs oldest first and ends with 0, e.g. (12, 8, 4, 0)."""

    offsets_ticks: tuple[int, ...]
    embedding_dim: int

    @property
    def length(self) -> int:
        """Context length T."""
        return len(self.offsets_ticks)


@dataclass(frozen=True)
class ActionSpec:
    """The chunk that the denoiser answers: ``past_steps`` rows of the past, then ``future_steps`` rows to come."""

    joints: tuple[str, ...]
    past_steps: int
    future_steps: int
    replan_every_ticks: int

    @property
    def horizon(self) -> int:
        return self.past_steps + self.future_steps


@dataclass(frozen=True)
class SamplerSpec:
    """How the denoiser graph samples: DDIM steps out of the training schedule's steps."""

    kind: str
    steps: int
    training_steps: int


@dataclass(frozen=True)
class VerificationSpec:
    """Self-verification at test time: how many candidate chunks are drawn, and in which unit their past is compared.

    ``scales``: half the range of the training data's actions per action joint (rad, m), the unit in which the policy itself saw
    them; differences are divided by it, so that a finger's millimetres and an arm's degrees weigh as they did in training.
    """

    candidates: int = 1
    scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class PolicySpec:
    """Everything about a policy but its weights.

    A policy sees cameras, or *features*: scalars that the task states about the visible world, for studies without pictures.
    With features alone ``cameras`` is empty, the embedding has no width and the bundle no encoder.
    """

    name: str
    task: str
    rate_hz: float
    cameras: tuple[CameraSpec, ...]
    proprioception_joints: tuple[str, ...]
    history: HistorySpec
    action: ActionSpec
    sampler: SamplerSpec
    features: tuple[str, ...] = ()
    verification: VerificationSpec = field(default_factory=VerificationSpec)

    @property
    def state_names(self) -> tuple[str, ...]:
        """The scalars of an observation beside its embedding: joints (rad, m), then features."""
        return self.proprioception_joints + self.features

    @property
    def period_ns(self) -> int:
        return round(NS_PER_S / self.rate_hz)

    @property
    def row_width(self) -> int:
        """Columns of a context row: age in s, embedding, state."""
        return 1 + self.history.embedding_dim + len(self.state_names)


@dataclass(frozen=True)
class Manifest:
    """``manifest.yaml``: the spec, the sha256 of each file, how the policy was trained, and the hash over all of it.

    ``adaptable``: the layers of the denoiser that take an adapter at run time, path of the module in the policy → shape of its
    weight, (out, in) or (out, in, kernel); empty where the graph takes none. ``precision``: of the networks' weights; what rounding them
    changed stands in ``training``. ``target``: where it is meant to run. A denoiser for a ``gpu`` has its
    sampling steps one after the other, not in a loop.
    """

    schema: int
    policy: PolicySpec
    files: dict[str, str]
    training: dict[str, Any] = field(default_factory=dict)
    adaptable: dict[str, tuple[int, ...]] = field(default_factory=dict)
    precision: Precision = "float32"
    target: Target = "cpu"
    hash: str = ""
