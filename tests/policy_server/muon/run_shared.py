"""One of several processes that share an optimizer's work: ``run_shared.py RANK RANKS STORE OUTPUT``.

Writes what it computed after each step: the parameters, and the names of the layers that it orthonormalised itself.
"""

import sys
from pathlib import Path

import torch
from torch import distributed

from policy_server.muon import optimizer as optimizer_module
from policy_server.muon.configuration import PolarConfig
from policy_server.muon.layers import muon_parameters
from policy_server.muon.optimizer import Muon
from tests.policy_server.muon.small_network import RULE, SmallNetwork, draw_gradients


def main(rank: int, ranks: int, store: str, output: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    network = SmallNetwork()
    counted, genuine = [0], optimizer_module.polar_factors

    def counting(matrices, configs, stack_below):  # type: ignore[no-untyped-def]
        counted[0] += len(matrices)
        return genuine(matrices, configs, stack_below)

    optimizer_module.polar_factors = counting
    optimizer = Muon(muon_parameters(network, RULE), lr=0.05, recipe=PolarConfig("halley", 2, "gram"), distribute=True)
    for step in range(4):
        draw_gradients(network, step)
        optimizer.step()
    torch.save({"model": network.state_dict(), "orthonormalised": counted[0]}, Path(output))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
