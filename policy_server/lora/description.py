"""What an adapter is, or could be, as text: of a file, of a run, and of a run that an adapter is planned for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from policy_server.lora.targets import AdaptableLayer, adaptable_layers, choose_layers
from policy_server.lora.tuned import Tuned
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.adapter import Adapter
from policy_server.training.checkpoint import Checkpoint
from policy_server.training.configuration import LoraSettings

_ENERGY = 0.99  # of the change's squared norm, for its effective rank


def describe_adapter(adapter: Adapter) -> list[str]:
    """Header and one line per layer: shape, norm of the change, and the number of directions that make up 99 % of it."""
    header = [
        ("adapter", adapter.name),
        ("base", f"bundle {adapter.base_hash}"),
        ("rank", f"{adapter.rank}, alpha {adapter.alpha:g} (scaled by {adapter.scaling:g})"),
        ("parameters", f"{adapter.parameters:,} in {len(adapter.layers)} layers"),
        *((name.replace("_", " "), _plain(value)) for name, value in adapter.training.items()),
    ]
    rows = [("layer", "shape", "norm of change", "directions")]
    for path in adapter.layers:
        change = adapter.change_of(path)
        rows.append((path, _shape(change.shape), f"{np.linalg.norm(change):.4f}", str(effective_rank(change))))
    return [*_table(header), "", *_table(rows)]


def describe_tuned(tuned: Tuned) -> list[str]:
    """How far each layer has gone from the base, relative to where it was, and in how many directions; by adapter or in full."""
    policy = DiffusionPolicy(tuned.spec, tuned.config.model)
    layers = adaptable_layers(policy)
    total = sum(parameter.numel() for parameter in policy.parameters())
    adapted = [layer for layer in layers if layer.path in tuned.adapter]
    rank = tuned.config.lora.rank
    trained = sum(layer.parameters(rank) for layer in adapted)
    how = (
        f"an adapter of rank {rank}: {_share(trained, total)}" if adapted else f"training in full: {total:,} parameters"
    )
    rows = [("layer", "role", "shape", "change / weight", "directions")]
    for layer in layers:
        before, after = (state[f"{layer.path}.weight"].numpy() for state in (tuned.base, tuned.tuned))
        change = after - before
        if change.any():
            size = np.linalg.norm(change) / np.linalg.norm(before)
            rows.append((layer.path, layer.role, _shape(layer.shape), f"{size:.4f}", str(effective_rank(change))))
    return [f"tuned by {how}, {tuned.step} steps from '{tuned.config.start_from}'", "", *_table(rows)]


def describe_plan(checkpoint: Checkpoint, settings: LoraSettings) -> list[str]:
    """What an adapter on this policy would change, role by role, and how large it would be."""
    policy = DiffusionPolicy(checkpoint.spec, checkpoint.config.model)
    chosen = choose_layers(policy, settings.targets)
    rank = max(settings.rank, 1)
    total = sum(parameter.numel() for parameter in policy.parameters())
    planned = sum(layer.parameters(rank) for layer in chosen)
    rows = [("role", "layers", "weights", f"adapted at rank {rank}", "for example")]
    for role, layers in _by_role(adaptable_layers(policy)).items():
        taken = [layer for layer in layers if layer in chosen]
        share = f"{sum(layer.parameters(rank) for layer in taken):,}" if taken else "-"
        weights = sum(layer.weights for layer in layers)
        rows.append((role, f"{len(taken)} of {len(layers)}", f"{weights:,}", share, layers[0].path))
    return [f"an adapter of rank {rank} on {', '.join(settings.targets)}: {_share(planned, total)}", "", *_table(rows)]


def effective_rank(change: NDArray[np.float32]) -> int:
    """How many singular directions hold 99 % of the squared norm of a weight's change (convolutions as out x rest); 0 for none."""
    energies = np.linalg.svd(change.reshape(len(change), -1), compute_uv=False).astype(float) ** 2
    if not energies.sum():
        return 0
    return int(np.searchsorted(np.cumsum(energies), _ENERGY * energies.sum())) + 1


def _by_role(layers: Iterable[AdaptableLayer]) -> Mapping[str, list[AdaptableLayer]]:
    found: defaultdict[str, list[AdaptableLayer]] = defaultdict(list)
    for layer in layers:
        found[layer.role].append(layer)
    return found


def _share(trained: int, total: int) -> str:
    return f"{trained:,} parameters are trained, {trained / total:.2%} of the policy's {total:,}"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
