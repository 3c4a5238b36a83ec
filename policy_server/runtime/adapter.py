"""Adapters as files: the low-rank changes that turn a base policy into an adapted one, bound to the base's bundle by its hash.

A safetensors file with two tensors per layer, named as ``peft`` names them, and metadata: schema, name, hash of the base bundle's
manifest, rank, alpha, and what it was trained on. Training writes it, the robot reads it; neither needs torch for that.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from policy_server.runtime.errors import PolicyError
from policy_server.runtime.whole_file import write_whole

ADAPTER_SCHEMA = 1
ADAPTER_SUFFIX = ".safetensors"

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_HASH = re.compile(r"[0-9a-f]{64}")
_RANKS_OF_WEIGHTS = (2, 3, 4)  # of tensors: a linear layer, Conv1d, Conv2d


class AdapterError(PolicyError):
    """An adapter file is missing, damaged, of another schema, or does not hold together."""


class AdapterBaseError(AdapterError):
    """An adapter was trained for another base policy than the one at hand."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """Low-rank changes of some layers (LoRA, arXiv 2106.09685): a weight W becomes W + ``scaling`` * B A.

    Attributes:
        base_hash: hash of the manifest of the bundle whose weights it changes, 64 hexadecimal digits.
        rank: r, the same for all layers.
        alpha: the change is scaled by ``alpha / rank``; the tensors hold it unscaled.
        layers: path of the module in the policy, e.g. ``denoiser.unet.middle.0.condition.attention.query``, → (A, B), float32.
            Linear: A (r, in), B (out, r). Conv1d: A (r, in, kernel), B (out, r, 1): a convolution with A, of the layer's stride and
            padding, then a pointwise one with B. Conv2d: A (r, in, height, width), B (out, r, 1, 1).
        training: what it was trained on, for people: task, demonstrations, steps; plain values that JSON can hold.

    Raises:
        AdapterError: no layer, shapes that do not go together, numbers that are not finite, or no hash.
    """

    name: str
    base_hash: str
    rank: int
    alpha: float
    layers: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank

    @property
    def parameters(self) -> int:
        return sum(down.size + up.size for down, up in self.layers.values())

    def change_of(self, path: str) -> NDArray[np.float32]:
        """What is added to the weight of layer ``path``, scaled, in the weight's shape."""
        down, up = self.layers[path]
        product = up.reshape(len(up), self.rank) @ down.reshape(self.rank, -1)
        change: NDArray[np.float32] = (self.scaling * product).reshape(len(up), *down.shape[1:]).astype(np.float32)
        return change


def write_adapter(path: Path, adapter: Adapter) -> None:
    """Write ``adapter`` whole or not at all."""
    tensors = {}
    for layer, (down, up) in adapter.layers.items():
        tensors[layer + _DOWN], tensors[layer + _UP] = np.ascontiguousarray(down), np.ascontiguousarray(up)
    metadata = {
        "schema": str(ADAPTER_SCHEMA),
        "name": adapter.name,
        "base_hash": adapter.base_hash,
        "rank": str(adapter.rank),
        "alpha": repr(float(adapter.alpha)),
        "training": json.dumps(adapter.training, sort_keys=True),
    }
    write_whole(path, save(tensors, metadata))  # safetensors' own file would be its writer's alone


def read_adapter(path: str | Path) -> Adapter:
    """Read and check an adapter file.

    Raises:
        AdapterError: it is missing, truncated, no adapter, of another schema, or does not hold together.
    """
    file = Path(path)
    if not file.is_file():
        raise AdapterError(f"no adapter at '{file}': give the file that python -m policy_server.lora export wrote")
    try:
        with safe_open(file, framework="numpy") as content:
            metadata: dict[str, str] = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118  not a mapping
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"adapter '{file}' is truncated or altered ({error}): copy or export it again") from None
    if metadata.get("schema") != str(ADAPTER_SCHEMA):
        raise AdapterError(
            f"adapter '{file}' has schema {metadata.get('schema')}, this version reads {ADAPTER_SCHEMA}: export it again"
        )
    try:
        return Adapter(
            name=metadata["name"],
            base_hash=metadata["base_hash"],
            rank=int(metadata["rank"]),
            alpha=float(metadata["alpha"]),
            layers=_paired(tensors),
            training=json.loads(metadata["training"]),
        )
    except (KeyError, ValueError, AdapterError) as error:
        raise AdapterError(f"adapter '{file}' does not hold together ({error}): export it again") from None


def check_base(adapter: Adapter, bundle_hash: str) -> None:
    """Raises AdapterBaseError when ``adapter`` was made for another bundle than that of ``bundle_hash``."""
    if adapter.base_hash != bundle_hash:
        raise AdapterBaseError(
            f"adapter '{adapter.name}' is for the bundle {adapter.base_hash}, this one is {bundle_hash}: "
            "take the bundle that it was exported for, or export it again with --base"
        )


def _paired(
    tensors: Mapping[str, NDArray[np.float32]],
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The tensors by layer. Raises AdapterError for one without its other half, or of another name."""
    for name in tensors:
        ending = _DOWN if name.endswith(_DOWN) else _UP
        other = name.removesuffix(ending) + (_UP if ending == _DOWN else _DOWN)
        if not name.endswith(ending) or other not in tensors:
            raise AdapterError(f"tensor '{name}' is no pair of lora_A and lora_B")
    layers = sorted(name.removesuffix(_DOWN) for name in tensors if name.endswith(_DOWN))
    return {layer: (tensors[layer + _DOWN], tensors[layer + _UP]) for layer in layers}


def _check(adapter: Adapter) -> None:
    if not adapter.name:
        raise AdapterError("an adapter without a name: give one")
    if not _HASH.fullmatch(adapter.base_hash):
        raise AdapterError(f"adapter '{adapter.name}': base_hash '{adapter.base_hash}' is no hash of a bundle")
    if adapter.rank < 1 or not np.isfinite(adapter.alpha):
        raise AdapterError(
            f"adapter '{adapter.name}': rank {adapter.rank}, alpha {adapter.alpha}: no adapter has these"
        )
    if not adapter.layers:
        raise AdapterError(f"adapter '{adapter.name}' changes no layer")
    for layer, (down, up) in adapter.layers.items():
        pointwise = (len(up), adapter.rank, *(1 for _ in down.shape[2:]))
        fits = down.ndim in _RANKS_OF_WEIGHTS and len(down) == adapter.rank and up.shape == pointwise
        if not fits or down.dtype != np.float32 or up.dtype != np.float32:
            raise AdapterError(
                f"adapter '{adapter.name}', layer '{layer}': {down.dtype} {down.shape} and {up.dtype} {up.shape} "
                f"are no float32 pair of rank {adapter.rank}"
            )
        if not (np.isfinite(down).all() and np.isfinite(up).all()):
            raise AdapterError(
                f"adapter '{adapter.name}', layer '{layer}' holds numbers that are not finite: train again"
            )
