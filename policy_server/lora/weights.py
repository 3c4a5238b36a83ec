"""Arithmetic of weights: state dicts with and without adapter, merging, and the way from the base to the tuned policy.

While it is trained, an adapted layer ``p`` is kept by ``peft`` as ``p.base_layer.weight``, ``p.lora_A.default.weight`` and
``p.lora_B.default.weight``. Everything here works on such names, and on those of a policy without adapter.
"""

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from policy_server.runtime.adapter import Adapter, AdapterError
from policy_server.runtime.errors import ConfigurationError

State = dict[str, Tensor]
Pairs = Mapping[str, tuple[Tensor, Tensor]]

_HALF = re.compile(r"(?P<path>.+)\.lora_(?P<half>[AB])\.default\.weight")
_BASE_LAYER = ".base_layer."


class InterpolationError(ConfigurationError):
    """Between these two policies there is no straight way."""


def is_of_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter."""
    return _HALF.fullmatch(name) is not None


def adapter_pairs(state: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Path of each adapted layer → (A, B), from a state dict with adapter."""
    found = (_HALF.fullmatch(name) for name in state)
    paths = [match["path"] for match in found if match is not None and match["half"] == "A"]
    return {path: (state[f"{path}.lora_A.default.weight"], state[f"{path}.lora_B.default.weight"]) for path in paths}


def base_state(state: Mapping[str, Tensor]) -> State:
    """The state dict of the policy underneath an adapter, as one without adapter has it."""
    return {name.replace(_BASE_LAYER, "."): value for name, value in state.items() if not is_of_adapter(name)}


def merged_state(state: Mapping[str, Tensor], pairs: Pairs, scaling: float) -> State:
    """``state`` of a policy without adapter, with ``scaling`` * B A added to the weight of every layer in ``pairs``; a copy."""
    merged = dict(state)
    for path, (down, up) in pairs.items():
        weight = merged[f"{path}.weight"]
        product = up.flatten(1) @ down.flatten(1)
        merged[f"{path}.weight"] = weight + scaling * product.reshape(weight.shape)
    return merged


def interpolated(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> State:
    """(1 - ``share``) * base + ``share`` * tuned, weight by weight (RETAIN, arXiv 2512.08333); exactly either at 0 and 1.

    Raises:
        InterpolationError: ``share`` is not from 0 to 1, the networks differ in form, or the tuned policy scales states and actions
            in another way, as one does that was not tuned from this base.
    """
    if not 0.0 <= share <= 1.0:
        raise InterpolationError(f"share {share}: give a number from 0 (the base) to 1 (the tuned policy)")
    shapes, others = ({name: tuple(value.shape) for name, value in state.items()} for state in (base, tuned))
    if shapes != others:
        name = sorted(set(shapes.items()) ^ set(others.items()))[0][0]
        raise InterpolationError(
            f"base and tuned policy are of another form ('{name}'): give the base that it was tuned from"
        )
    for name in base:
        if name.startswith("scaling.") and not torch.equal(base[name], tuned[name]):
            raise InterpolationError(
                f"base and tuned policy differ in {name}: the tuned one was not started from this base; give the one it was"
            )
    return {name: torch.lerp(base[name], tuned[name], share) for name in base}


def merge_adapter(policy: nn.Module, adapter: Adapter, share: float = 1.0) -> None:
    """Add ``share`` of an adapter to the weights of a policy without adapter, in place.

    Raises:
        AdapterError: a layer that the policy lacks or that has another shape; nothing is changed then.
    """
    weights = {path: _weight_of(policy, adapter, path) for path in adapter.layers}
    with torch.no_grad():
        for path, weight in weights.items():
            change = torch.from_numpy(np.float32(share) * adapter.change_of(path))
            weight.add_(change.to(weight.device))


def unmerge_adapter(policy: nn.Module, adapter: Adapter, share: float = 1.0) -> None:
    """Take it out again: the weights are those of before, up to the rounding of float32."""
    merge_adapter(policy, adapter, -share)


def _weight_of(policy: nn.Module, adapter: Adapter, path: str) -> Tensor:
    weights = dict(policy.named_parameters())
    weight = weights.get(f"{path}.weight")
    down, up = adapter.layers[path]
    shape = (len(up), *down.shape[1:])
    if weight is None or tuple(weight.shape) != shape:
        found = "has no such layer" if weight is None else f"has one of {tuple(weight.shape)}"
        raise AdapterError(
            f"adapter '{adapter.name}' changes layer '{path}' of {shape}, the policy {found}: it is for another network"
        )
    return weight
