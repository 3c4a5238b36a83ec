"""The thread in which a bundle is made ready."""

import threading
from pathlib import Path

import pytest

from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.successor import Successor
from tests.synthetic_bundle import write_synthetic_bundle

PATIENCE_S = 20.0


@pytest.fixture
def running(tmp_path: Path) -> Bundle:
    return load_bundle(write_synthetic_bundle(tmp_path / "running"))


@pytest.fixture
def new(tmp_path: Path) -> str:
    return str(write_synthetic_bundle(tmp_path / "new", future_steps=8))


def test_it_is_ready_when_it_is_built_and_its_work_is_done_and_works_again_when_woken(
    running: Bundle, new: str
) -> None:
    left, done = [1, 2, 3], threading.Semaphore(0)

    def work(_part: str) -> bool:
        if left:
            left.pop()
            done.release()
            return True
        return False

    successor = Successor(new, running, build=lambda bundle: bundle.hash, work=work)
    assert successor.wait(PATIENCE_S) == "ready" and left == []
    assert successor.bundle is not None and successor.part == successor.bundle.hash == load_bundle(new).hash
    for _ in range(3):
        assert done.acquire(timeout=PATIENCE_S)
    left.append(4)
    successor.wake()
    assert done.acquire(timeout=PATIENCE_S) and successor.stage == "ready"
    successor.end()


@pytest.mark.parametrize("where", ["read", "build", "work"])
def test_a_failure_anywhere_is_told_once_with_its_reason(running: Bundle, new: str, where: str) -> None:
    told: list[str] = []

    def build(_bundle: Bundle) -> str:
        if where == "build":
            raise ValueError("no room")
        return "part"

    def work(_part: str) -> bool:
        raise ValueError("no room")

    successor = Successor(
        new if where != "read" else "/nowhere", running, build=build, work=work, on_failure=told.append
    )
    assert successor.wait(PATIENCE_S) == "failed" and successor.part is None
    assert successor.reason.startswith("no bundle at '/nowhere'" if where == "read" else "ValueError: no room")
    successor._thread.join(PATIENCE_S)
    assert len(told) == 1 and "the running one goes on" in told[0]


def test_a_bundle_that_does_not_fit_is_never_built(running: Bundle, tmp_path: Path) -> None:
    built: list[Bundle] = []
    other = str(write_synthetic_bundle(tmp_path / "other", rate_hz=20.0))
    successor = Successor(other, running, build=built.append)
    assert successor.wait(PATIENCE_S) == "failed" and "rate 20 Hz" in successor.reason
    assert built == []


def test_what_is_ended_early_is_let_go_without_a_word(running: Bundle, new: str) -> None:
    told: list[str] = []
    building, go_on = threading.Event(), threading.Event()

    def build(_bundle: Bundle) -> object:
        building.set()
        assert go_on.wait(PATIENCE_S)
        raise ValueError("too late")

    successor = Successor(new, running, build=build, on_failure=told.append)
    assert building.wait(PATIENCE_S)
    successor.outgoing = object()
    successor.end()
    go_on.set()
    successor._thread.join(PATIENCE_S)
    assert told == [] and successor.part is None and successor.outgoing is None
