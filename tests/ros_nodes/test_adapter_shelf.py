import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy_server.runtime.adapter import Adapter, AdapterBaseError, AdapterError, write_adapter
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.engine import Denoiser
from ros_nodes.adapter_shelf import AdapterShelf, files_in
from tests.adaptable_bundle import shifting_adapter, write_adaptable_bundle, write_shifting_adapter


class SlowDenoiser(Denoiser):
    """Loads only when it may."""

    may_load = threading.Event()

    def load(self, adapter: Adapter) -> None:
        self.may_load.wait()
        super().load(adapter)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_adaptable_bundle(tmp_path / "bundle")


@pytest.fixture
def left(folder: Path) -> str:
    return str(write_shifting_adapter(folder, "left", 0.1))


@pytest.fixture
def right(folder: Path) -> str:
    return str(write_shifting_adapter(folder, "right", -0.1))


@pytest.fixture
def denoiser(folder: Path) -> Denoiser:
    return Denoiser(load_bundle(folder))


@pytest.fixture
def slow(folder: Path) -> Iterator[SlowDenoiser]:
    denoiser = SlowDenoiser(load_bundle(folder))
    denoiser.may_load = threading.Event()
    yield denoiser
    denoiser.may_load.set()


def put(shelf: AdapterShelf, *files: str, active: str = "") -> None:
    shelf.apply(shelf.plan(files, active))


def states(shelf: AdapterShelf) -> dict[str, str]:
    return {name: offer.state for name, offer in shelf.offers.items()}


def test_what_is_put_on_the_shelf_can_be_activated_and_what_is_taken_off_is_dropped(
    denoiser: Denoiser, left: str, right: str
) -> None:
    shelf = AdapterShelf(denoiser)
    put(shelf, left, right, active="left")
    shelf.wait()
    assert states(shelf) == {"left": "ready", "right": "ready"}
    assert denoiser.active == "left"
    put(shelf, right, active="right")
    assert (denoiser.active, denoiser.loaded) == ("right", ("right",))
    put(shelf)
    assert (denoiser.active, denoiser.loaded) == (None, ())


def test_an_adapter_that_is_wanted_before_it_is_ready_becomes_active_when_it_is(
    slow: SlowDenoiser, left: str, right: str
) -> None:
    shelf = AdapterShelf(slow)
    put(shelf, left, active="left")
    assert states(shelf) == {"left": "loading"}
    assert (slow.active, shelf.wanted) == (None, "left")
    slow.may_load.set()
    shelf.wait()
    assert slow.active == "left"
    slow.may_load.clear()
    put(shelf, right, active="right")
    assert slow.active == "left", "the old one serves until the new one can"
    slow.may_load.set()
    shelf.wait()
    assert (slow.active, slow.loaded) == ("right", ("right",))


def test_an_adapter_that_is_dropped_while_it_is_loaded_stays_away(slow: SlowDenoiser, left: str) -> None:
    shelf = AdapterShelf(slow)
    put(shelf, left, active="left")
    put(shelf)
    slow.may_load.set()
    shelf.wait()
    assert (slow.active, slow.loaded) == (None, ())


class DenoiserThatLingers(Denoiser):
    """Has loaded an adapter, and does not return yet."""

    has_loaded: threading.Event
    may_return: threading.Event

    def load(self, adapter: Adapter) -> None:
        super().load(adapter)
        self.has_loaded.set()
        self.may_return.wait()


@pytest.fixture
def lingering(folder: Path) -> Iterator[DenoiserThatLingers]:
    denoiser = DenoiserThatLingers(load_bundle(folder))
    denoiser.has_loaded, denoiser.may_return = threading.Event(), threading.Event()
    yield denoiser
    denoiser.may_return.set()


def test_another_change_just_before_an_adapter_is_called_ready_does_not_take_it_away(
    lingering: DenoiserThatLingers, left: str
) -> None:
    shelf = AdapterShelf(lingering)
    put(shelf, left)
    lingering.has_loaded.wait()
    put(shelf, left, active="left")
    lingering.may_return.set()
    shelf.wait()
    assert (lingering.active, lingering.loaded) == ("left", ("left",))


def test_an_adapter_that_is_put_back_while_it_is_still_loaded_the_first_time_is_ready_in_the_end(
    lingering: DenoiserThatLingers, left: str
) -> None:
    shelf = AdapterShelf(lingering)
    put(shelf, left)
    lingering.has_loaded.wait()
    put(shelf)
    put(shelf, left, active="left")
    lingering.may_return.set()
    shelf.wait()
    assert (lingering.active, states(shelf)) == ("left", {"left": "ready"})


def test_an_adapter_that_the_denoiser_has_not_is_never_called_ready(
    denoiser: Denoiser, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = AdapterShelf(denoiser)
    monkeypatch.setattr(denoiser, "load", lambda adapter: None)
    put(shelf, left, active="left")
    with pytest.raises(AdapterError, match="'left' was dropped while it was loaded"):
        shelf.wait()
    assert (denoiser.active, states(shelf)) == (None, {"left": "failed"})


def test_a_plan_that_does_not_fit_changes_nothing(denoiser: Denoiser, folder: Path, left: str, tmp_path: Path) -> None:
    shelf = AdapterShelf(denoiser)
    put(shelf, left, active="left")
    shelf.wait()
    foreign, twin, torn = (tmp_path / f"{name}.safetensors" for name in ("foreign", "twin", "torn"))
    adapter = shifting_adapter(folder, "foreign", 0.1)
    write_adapter(foreign, dataclasses.replace(adapter, base_hash="5" * 64))
    write_adapter(twin, dataclasses.replace(adapter, name="left"))
    torn.write_bytes(Path(left).read_bytes()[:-9])
    with pytest.raises(AdapterBaseError, match=f"{'5' * 64}.*{load_bundle(folder).hash}"):
        shelf.plan([left, str(foreign)], "left")
    for files, active, complaint in (
        ([left, str(twin)], "left", f"'{twin}' and '{left}' both hold an adapter 'left'"),
        ([left, str(torn)], "left", "truncated or altered"),
        ([left, "/nowhere.safetensors"], "left", "no adapter at '/nowhere.safetensors'"),
        ([left], "up", "no adapter 'up' is loaded; loaded: left"),
        ([], "left", "adapter 'left' is to be active: activate another one"),
    ):
        with pytest.raises(AdapterError, match=complaint):
            shelf.plan(files, active)
    assert (denoiser.active, denoiser.loaded, states(shelf)) == ("left", ("left",), {"left": "ready"})


def test_a_file_that_is_on_the_shelf_is_not_read_again(denoiser: Denoiser, left: str) -> None:
    shelf = AdapterShelf(denoiser)
    put(shelf, left)
    shelf.wait()
    Path(left).unlink()
    put(shelf, left, active="left")
    assert denoiser.active == "left"


def test_a_failure_while_loading_is_told_and_the_old_adapter_goes_on(
    denoiser: Denoiser, left: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    shelf = AdapterShelf(denoiser, told.append)
    put(shelf, left, active="left")
    shelf.wait()

    def fail(adapter: Adapter) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(denoiser, "load", fail)
    put(shelf, left, right, active="right")
    with pytest.raises(AdapterError, match="OSError: no space left on device"):
        shelf.wait()
    assert told == ["OSError: no space left on device"]
    assert denoiser.active == "left"
    monkeypatch.undo()
    put(shelf, left, right, active="right")
    shelf.wait()
    assert denoiser.active == "right", "what failed can be tried again"


def test_files_of_the_parameter_are_separated_by_commas() -> None:
    assert files_in("") == files_in(" , ") == []
    assert files_in("a.safetensors, b.safetensors,") == ["a.safetensors", "b.safetensors"]
