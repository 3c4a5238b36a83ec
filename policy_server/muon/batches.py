"""Polar factors of many layers at once: those of one shape and configuration make one batch."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from policy_server.muon.configuration import PolarConfig
from policy_server.muon.polar import orthonormalise


def polar_factors(matrices: list[Tensor], configs: list[PolarConfig], stack_below: float) -> list[Tensor]:
    """Polar factors in the order of ``matrices``, each (parts, rows, columns).

    Those of one shape and configuration make one batch when a matrix has fewer than ``stack_below`` elements: that spares the
    overhead of many small operations, which large ones do not feel.
    """
    batches: dict[Any, list[int]] = defaultdict(list)
    for index, (each, config) in enumerate(zip(matrices, configs, strict=True)):
        alone = index if each[0].numel() >= stack_below else -1
        batches[(each.shape[1:], each.dtype, each.device, config, alone)].append(index)
    results: dict[int, Tensor] = {}
    for (_, _, _, config, _), indices in batches.items():
        stacked = matrices[indices[0]] if len(indices) == 1 else torch.cat([matrices[index] for index in indices])
        parts = orthonormalise(stacked, config).split([len(matrices[index]) for index in indices])
        results.update(zip(indices, parts, strict=True))
    return [results[index] for index in range(len(matrices))]
