"""Orthonormalisation shared by the processes of one distributed run: each does its own matrices, then all have all."""

from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from policy_server.muon.errors import MuonParameterError


def assign_owners(costs: Sequence[float], ranks: int) -> list[int]:
    """The rank that computes each matrix: the costliest first, each to the rank with the least so far.

    Depends on the costs alone, so that all ranks come to the same answer.
    """
    loads = [0.0] * ranks
    owners = [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        owners[index] = loads.index(min(loads))
        loads[owners[index]] += costs[index]
    return owners


def gather_shares(
    own: dict[int, Tensor], like: Sequence[Tensor], owners: Sequence[int], group: distributed.ProcessGroup | None
) -> list[Tensor]:
    """All results, in the order of ``like``, from what each rank computed: one all-gather.

    Args:
        own: index → result of this rank.
        like: a tensor of the shape, dtype and device of every result; all of one dtype and device.
        owners: rank of each index.

    Raises:
        MuonParameterError: parameters of several dtypes or devices in one group.
    """
    if len({(tensor.dtype, tensor.device) for tensor in like}) > 1:
        raise MuonParameterError("a Muon group mixes dtypes or devices: to distribute it, make a group of each")
    ranks = distributed.get_world_size(group)
    sizes = [0] * ranks
    for tensor, owner in zip(like, owners, strict=True):
        sizes[owner] += tensor.numel()
    # Collectives want equal sizes: every share is padded to the largest.
    share = like[0].new_zeros(max(sizes))
    if own:
        flat = torch.cat([own[index].reshape(-1) for index in sorted(own)])
        share[: flat.numel()] = flat
    shares = [torch.empty_like(share) for _ in range(ranks)]
    distributed.all_gather(shares, share, group=group)
    offsets = [0] * ranks
    results = []
    for tensor, owner in zip(like, owners, strict=True):
        start = offsets[owner]
        offsets[owner] += tensor.numel()
        results.append(shares[owner][start : offsets[owner]].view(tensor.shape))
    return results
