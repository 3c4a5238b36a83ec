"""Polar factors of many layers at once: those of one shape and configuration make one batch."""

from collections import defaultdict
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from policy_server.muon.configuration import PolarConfig
from policy_server.muon.cost import CostModel, cost
from policy_server.muon.layer_threads import map_layers
from policy_server.muon.polar import full_float32, orthonormalise

# In FLOPs of a product, some tens of milliseconds of one core: less is not worth starting threads for.
_WORTH_THREADS = 2e9


def polar_factors(matrices: list[Tensor], configs: list[PolarConfig], stack_below: float) -> list[Tensor]:
    """Polar factors in the order of ``matrices``, each (parts, rows, columns).

    Those of one shape and configuration make one batch when a matrix has fewer than ``stack_below`` elements: that spares the
    overhead of many small operations, which large ones do not feel. On a CPU batches that take long are computed side by side.
    """
    batches: dict[Any, list[int]] = defaultdict(list)
    for index, (each, config) in enumerate(zip(matrices, configs, strict=True)):
        alone = index if each[0].numel() >= stack_below else -1
        batches[(each.shape[1:], each.dtype, each.device, config, alone)].append(index)
    costs = {indices[0]: _declared_cost(indices, matrices, configs) for indices in batches.values()}
    longest_first = sorted(batches.values(), key=lambda indices: costs[indices[0]], reverse=True)

    def factor(indices: list[int]) -> tuple[Tensor, ...]:
        stacked = matrices[indices[0]] if len(indices) == 1 else torch.cat([matrices[index] for index in indices])
        return orthonormalise(stacked, configs[indices[0]]).split([len(matrices[index]) for index in indices])

    with full_float32():
        if sum(costs.values()) < _WORTH_THREADS or any(each.is_cuda for each in matrices):
            factors = [factor(indices) for indices in longest_first]
        else:
            factors = map_layers(factor, longest_first)
    results: dict[int, Tensor] = {}
    for indices, parts in zip(longest_first, factors, strict=True):
        results.update(zip(indices, parts, strict=True))
    return [results[index] for index in range(len(matrices))]


def _declared_cost(indices: list[int], matrices: list[Tensor], configs: list[PolarConfig]) -> float:
    return sum(len(matrices[index]) for index in indices) * _cost_of_one(
        configs[indices[0]], *matrices[indices[0]].shape[1:]
    )


@lru_cache(maxsize=1024)
def _cost_of_one(config: PolarConfig, rows: int, columns: int) -> float:
    return cost(config, rows, columns, CostModel())
