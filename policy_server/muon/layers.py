"""The visible rule: which parameters of a model Muon trains and which AdamW, of what type each is, and how deep it lies."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import nn

from policy_server.muon.errors import MuonParameterError
from policy_server.muon.matrices import MatrixLayout, matrix_shape

Kind = Literal["muon", "adamw"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

# Name pattern -> type of each part; the first that fits counts.
LAYER_TYPES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("*query_key_value.weight", ("Q", "K", "V")),
    ("*qkv*weight", ("Q", "K", "V")),
    ("*in_proj_weight", ("Q", "K", "V")),
    ("*key_value.weight", ("K", "V")),
    ("*query.weight", ("Q",)),
    ("*q_proj*weight", ("Q",)),
    ("*key.weight", ("K",)),
    ("*k_proj*weight", ("K",)),
    ("*value.weight", ("V",)),
    ("*v_proj*weight", ("V",)),
    ("*attention.out.weight", ("O",)),
    ("*out_proj.weight", ("O",)),
    ("*o_proj.weight", ("O",)),
    ("*feed_forward.1.weight", ("up",)),
    ("*feed_forward.3.weight", ("down",)),
    ("*linear1.weight", ("up",)),
    ("*linear2.weight", ("down",)),
    ("*fc1.weight", ("up",)),
    ("*fc2.weight", ("down",)),
    ("*up_proj.weight", ("up",)),
    ("*gate_proj.weight", ("up",)),
    ("*down_proj.weight", ("down",)),
)


@dataclass(frozen=True)
class LayerRule:
    """Who trains what; patterns are of ``fnmatch`` and match the full parameter name.

    Muon trains the weights of linear and convolutional layers. AdamW trains the rest: norms, biases, embeddings, free-standing
    parameters, layers with fewer than ``smallest_side`` inputs or outputs, and, with ``ends``, the first and the last layer.
    ``muon`` and ``adamw`` overrule that by name. ``types`` and ``quarters`` come before ``LAYER_TYPES`` and before the quarter
    that is counted; a type with several names splits the matrix into as many parts, orthonormalised one by one.
    """

    muon: tuple[str, ...] = ()
    adamw: tuple[str, ...] = ()
    smallest_side: int = 16
    ends: bool = True
    types: tuple[tuple[str, tuple[str, ...]], ...] = ()
    quarters: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Layer:
    """One trainable parameter. ``types`` has one name per part; ``quarter`` is 1 to 4, 4 holds the last layer of its type."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    reason: str
    layout: MatrixLayout = field(default_factory=MatrixLayout)
    types: tuple[str, ...] = ()
    quarter: int = 0

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns of one part."""
        return matrix_shape(self.shape, self.layout)


def assign_layers(model: nn.Module, rule: LayerRule | None = None) -> list[Layer]:
    """Every trainable parameter of ``model`` with who trains it and why, in the model's order.

    Raises:
        MuonParameterError: a pattern that fits no parameter, or one that wants Muon for what is no matrix.
    """
    rule = rule or LayerRule()
    owners = _owners(model)
    trainable = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
    _refuse_idle_patterns(rule, [name for name, _ in trainable])
    weights = [name for name, tensor in trainable if _layout(name, tensor, owners[tensor], rule) is not None]
    ends = {weights[0], weights[-1]} if rule.ends and len(weights) > 2 else set()
    layers = [_assign(name, tensor, owners[tensor], rule, name in ends) for name, tensor in trainable]
    return _with_quarters(layers, rule)


def muon_parameters(model: nn.Module, rule: LayerRule | None = None) -> list[dict[str, Any]]:
    """Parameter groups for ``policy_server.muon.optimizer.Muon``, with names: one for Muon, one for AdamW.

    Raises MuonParameterError as ``assign_layers``.
    """
    parameters = dict(model.named_parameters())
    groups: dict[Kind, dict[str, Any]] = {
        "muon": {"kind": "muon", "params": [], "layouts": {}},
        "adamw": {"kind": "adamw", "params": []},
    }
    for layer in assign_layers(model, rule):
        groups[layer.kind]["params"].append((layer.name, parameters[layer.name]))
        if layer.layout != MatrixLayout():
            groups["muon"]["layouts"][layer.name] = (layer.layout.parts, layer.layout.transposed)
    return [group for group in groups.values() if group["params"]]


def describe(layers: list[Layer]) -> str:
    """A table for people: name, shape, who trains it, as what matrices, of what type and depth, and why."""
    rows = [("parameter", "shape", "by", "matrices", "type", "depth", "because")]
    for layer in layers:
        shape = "x".join(map(str, layer.shape))
        if layer.kind == "adamw":
            rows.append((layer.name, shape, "AdamW", "", "", "", layer.reason))
            continue
        matrices = f"{layer.layout.parts} of {layer.matrix[0]}x{layer.matrix[1]}"
        rows.append((layer.name, shape, "Muon", matrices, "/".join(layer.types), f"{layer.quarter}/4", layer.reason))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _assign(name: str, tensor: torch.Tensor, owners: list[nn.Module], rule: LayerRule, is_end: bool) -> Layer:
    shape = tuple(tensor.shape)
    layout = _layout(name, tensor, owners, rule)
    types = _types(name, owners, layout, rule)
    if _fits(name, rule.adamw):
        return Layer(name, shape, "adamw", "named so")
    if _fits(name, rule.muon):
        if tensor.ndim < 2:
            raise MuonParameterError(f"'{name}' has shape {shape}: no matrix; take it out of the Muon patterns")
        return Layer(name, shape, "muon", "named so", layout or MatrixLayout(), types or ("other",))
    reason = _reason_against(tensor, owners, layout, rule, is_end)
    if reason or layout is None:
        return Layer(name, shape, "adamw", reason)
    return Layer(name, shape, "muon", "hidden layer", layout, types)


def _reason_against(
    tensor: torch.Tensor, owners: list[nn.Module], layout: MatrixLayout | None, rule: LayerRule, is_end: bool
) -> str:
    if any(isinstance(owner, nn.Embedding | nn.EmbeddingBag) for owner in owners):
        return "embedding"
    if tensor.ndim < 2:
        return "not a matrix"
    if layout is None:
        return f"free-standing parameter of {type(owners[0]).__name__}"
    if is_end:
        return "first or last layer"
    # Channels, not channels times kernel: a kernel cannot make a narrow input wide.
    narrowest = min(tensor.shape[0] // layout.parts, tensor.shape[1])
    if narrowest < rule.smallest_side:
        return f"{narrowest} inputs or outputs, fewer than {rule.smallest_side}"
    return ""


def _layout(name: str, tensor: torch.Tensor, owners: list[nn.Module], rule: LayerRule) -> MatrixLayout | None:
    """How the weight of a linear or convolutional layer is a matrix; None for any other parameter."""
    owner = owners[0]
    if tensor.ndim < 2 or any(isinstance(each, nn.Embedding | nn.EmbeddingBag) for each in owners):
        return None
    parts = len(_named_types(name, rule))
    if isinstance(owner, _TRANSPOSED):
        return MatrixLayout(owner.groups, transposed=True)
    if isinstance(owner, _CONVOLUTIONS):
        return MatrixLayout(max(parts, owner.groups))
    if isinstance(owner, nn.Linear | nn.MultiheadAttention) and name.endswith("weight"):
        return MatrixLayout(max(1, parts))
    return None


def _types(name: str, owners: list[nn.Module], layout: MatrixLayout | None, rule: LayerRule) -> tuple[str, ...]:
    if layout is None:
        return ()
    kind = "conv" if isinstance(owners[0], (*_CONVOLUTIONS, *_TRANSPOSED)) else "linear"
    named = _named_types(name, rule) or (kind,)
    return named if len(named) == layout.parts else named[:1] * layout.parts


def _named_types(name: str, rule: LayerRule) -> tuple[str, ...]:
    return next((types for pattern, types in (*rule.types, *LAYER_TYPES) if fnmatchcase(name, pattern)), ())


def _with_quarters(layers: list[Layer], rule: LayerRule) -> list[Layer]:
    """Counted per type in the model's order, so that the last of every type lies in quarter 4."""
    totals = Counter(layer.types for layer in layers if layer.kind == "muon")
    seen: Counter[tuple[str, ...]] = Counter()
    result = []
    for layer in layers:
        if layer.kind == "adamw":
            result.append(layer)
            continue
        seen[layer.types] += 1
        counted = -(-4 * seen[layer.types] // totals[layer.types])
        quarter = next((number for pattern, number in rule.quarters if fnmatchcase(layer.name, pattern)), counted)
        result.append(replace(layer, quarter=quarter))
    return result


def _owners(model: nn.Module) -> dict[torch.Tensor, list[nn.Module]]:
    """The modules that hold each parameter; several when it is shared."""
    owners: dict[torch.Tensor, list[nn.Module]] = {}
    for module in model.modules():
        for tensor in module.parameters(recurse=False):
            owners.setdefault(tensor, []).append(module)
    return owners


def _refuse_idle_patterns(rule: LayerRule, names: list[str]) -> None:
    for pattern in _patterns(rule):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise MuonParameterError(f"pattern '{pattern}' fits no trainable parameter: see the names in describe()")


def _patterns(rule: LayerRule) -> Iterator[str]:
    yield from (*rule.muon, *rule.adamw)
    yield from (pattern for pattern, _ in (*rule.types, *rule.quarters))


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
