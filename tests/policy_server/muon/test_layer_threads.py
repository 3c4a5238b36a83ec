"""Layers side by side: in order, each on one thread of torch, and nothing of it stays."""

import threading

import pytest
import torch

from policy_server.muon import batches
from policy_server.muon.configuration import PolarConfig
from policy_server.muon.layer_threads import map_layers


@pytest.fixture(autouse=True)
def _two_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items() -> None:
    assert map_layers(lambda item: item**2, range(20)) == [item**2 for item in range(20)]


def test_layers_are_computed_at_the_same_time_with_one_thread_each() -> None:
    meeting = threading.Barrier(2, timeout=20)

    def work(_: int) -> int:
        meeting.wait()  # passes only when two are at it
        return torch.get_num_threads()

    assert map_layers(work, [0, 1]) == [1, 1]


def test_torch_has_its_threads_again_afterwards() -> None:
    def fail(_: int) -> int:
        raise ValueError("a layer")

    map_layers(lambda item: item, range(4))
    with pytest.raises(ValueError, match="a layer"):
        map_layers(fail, range(4))
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), later) == (2, [2])


def test_no_thread_remembers_the_gradients_way() -> None:
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        assert not any(each.requires_grad for each in map_layers(lambda item: weight * item, range(4)))


@pytest.mark.parametrize(("side", "threaded"), [(16, False), (640, True)])
def test_only_what_takes_long_is_given_to_threads(side: int, threaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(batches, "map_layers", lambda work, items: used.append(1) or [work(item) for item in items])
    matrices = [torch.eye(side)[None] for _ in range(4)]
    factors = batches.polar_factors(matrices, [PolarConfig(form="gram")] * 4, 0.0)
    assert bool(used) == threaded
    torch.testing.assert_close(factors[3], torch.eye(side)[None], atol=0.4, rtol=0)
