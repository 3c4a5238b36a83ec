"""Work that is shared between processes: fairly, completely, and with the result of one process alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy_server.muon.configuration import PolarConfig
from policy_server.muon.layers import muon_parameters
from policy_server.muon.optimizer import Muon
from policy_server.muon.sharing import assign_owners
from tests.policy_server.muon.small_network import RULE, SmallNetwork, draw_gradients

ROOT = Path(__file__).parents[3]


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40), st.integers(1, 6))
def test_no_rank_has_more_than_its_fair_share_and_one_matrix(costs: list[float], ranks: int) -> None:
    owners = assign_owners(costs, ranks)
    loads = [sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in range(ranks)]
    assert max(loads) <= sum(costs) / ranks + max(costs)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_several_processes_come_to_what_one_does(tmp_path: Path, ranks: int) -> None:
    outputs = [tmp_path / f"{rank}.pt" for rank in range(ranks)]
    script = Path(__file__).with_name("run_shared.py")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", ".".join(script.relative_to(ROOT).with_suffix("").parts), *map(str, arguments)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments in ((rank, ranks, tmp_path / "store", outputs[rank]) for rank in range(ranks))
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    alone = SmallNetwork()
    optimizer = Muon(muon_parameters(alone, RULE), lr=0.05, recipe=PolarConfig("halley", 2, "gram"))
    for step in range(4):
        draw_gradients(alone, step)
        optimizer.step()
    results = [torch.load(output, weights_only=True) for output in outputs]
    for result in results:
        assert all(torch.equal(result["model"][name], value) for name, value in alone.state_dict().items())
    # Six matrices, four steps, each done once, by no one alone.
    assert sum(result["orthonormalised"] for result in results) == 6 * 4
    assert min(result["orthonormalised"] for result in results) > 0
