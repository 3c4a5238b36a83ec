"""Layers side by side on a CPU, one thread each: factorisations of small matrices do not get faster with more threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_layers(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``work`` of each item, in their order, on as many threads as torch has here (``torch.get_num_threads``).

    Each thread computes with one thread of torch, so a layer's result does not depend on how many there are. Give the longest
    first. An exception of ``work`` is raised here.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2:
        return [work(item) for item in items]
    allowed = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "muon", lambda: torch.set_num_threads(1)) as pool:
            return list(pool.map(torch.no_grad()(work), items))
    finally:
        # The number that a thread sets is also what threads started later begin with.
        torch.set_num_threads(allowed)
