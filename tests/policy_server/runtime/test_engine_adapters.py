"""Adapters on the denoiser, with a graph made by hand; tests/policy_server/export has the real ones."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.actor import Actor
from policy_server.runtime.adapter import AdapterBaseError, AdapterError
from policy_server.runtime.bundle import load_bundle, write_manifest
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import BundleError
from policy_server.runtime.history import Context
from tests.adaptable_bundle import LAYER, shifting_adapter, write_adaptable_bundle

PERIOD_NS = 100_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_adaptable_bundle(tmp_path / "bundle", replan_every_ticks=3)


@pytest.fixture
def denoiser(folder: Path) -> Denoiser:
    denoiser = Denoiser(load_bundle(folder), candidates=3)
    for name, shift_rad in (("left", 0.1), ("right", -0.3)):
        denoiser.load(shifting_adapter(folder, name, shift_rad))
    return denoiser


def rows() -> np.ndarray:
    generator = np.random.default_rng(0)
    context = generator.standard_normal((4, 12)).astype(np.float32)
    context[:, -1] = 0.02  # the finger: a shift of exactly so many rad
    return context


def noise(count: int = 1) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 8, 8)).astype(np.float32)


def test_the_active_adapter_changes_what_is_sampled_and_no_adapter_nothing(folder: Path, denoiser: Denoiser) -> None:
    base = Denoiser(load_bundle(folder)).sample_many(rows(), noise(3))
    np.testing.assert_array_equal(denoiser.sample_many(rows(), noise(3)), base)
    for name, shift_rad in (("left", 0.1), ("right", -0.3), ("left", 0.1)):
        denoiser.activate(name)
        change = denoiser.sample_many(rows(), noise(3)) - base
        np.testing.assert_allclose(change[..., 0], shift_rad, atol=1e-5)
        np.testing.assert_array_equal(change[..., 1:], 0)
        assert denoiser.sampled_with == denoiser.active == name
    denoiser.activate(None)
    np.testing.assert_array_equal(denoiser.sample_many(rows(), noise(3)), base)
    assert denoiser.sampled_with is None


def test_adapters_of_any_rank_serve_one_graph(folder: Path, denoiser: Denoiser) -> None:
    base = denoiser.sample(rows(), noise()[0])
    for rank in (1, 5, 32):
        denoiser.load(shifting_adapter(folder, f"rank {rank}", 0.2, rank=rank))
        denoiser.activate(f"rank {rank}")
        np.testing.assert_allclose(denoiser.sample(rows(), noise()[0])[:, 0] - base[:, 0], 0.2, atol=1e-5)


def test_an_adapter_is_dropped_only_when_it_is_not_active(denoiser: Denoiser) -> None:
    denoiser.activate("left")
    with pytest.raises(AdapterError, match="'left' is active: activate another one"):
        denoiser.drop("left")
    denoiser.activate(None)
    denoiser.drop("left")
    assert denoiser.loaded == ("right",)
    for act in (denoiser.activate, denoiser.drop):
        with pytest.raises(AdapterError, match="no adapter 'left' is loaded; loaded: right"):
            act("left")


def test_a_name_that_is_taken_and_another_base_are_refused_and_change_nothing(folder: Path, denoiser: Denoiser) -> None:
    with pytest.raises(AdapterError, match="'left' is loaded already"):
        denoiser.load(shifting_adapter(folder, "left", 0.5))
    with pytest.raises(AdapterBaseError):
        denoiser.load(dataclasses.replace(shifting_adapter(folder, "new", 0.5), base_hash="1" * 64))
    assert denoiser.loaded == ("left", "right")


def test_an_adapter_that_makes_the_answer_overflow_is_refused(folder: Path, denoiser: Denoiser) -> None:
    wild = shifting_adapter(folder, "wild", 0.1)
    down, up = wild.layers[LAYER]
    down, up = np.full_like(down, 3e38), np.full_like(up, 3e38)
    # The warm-up's context is zero, so that the overflow must be there for any context.
    with (
        np.errstate(over="ignore"),
        pytest.raises(AdapterError, match="'wild' the policy answers numbers that are not finite"),
    ):
        denoiser.load(dataclasses.replace(wild, layers={LAYER: (down, up)}, alpha=1e9))
    assert denoiser.loaded == ("left", "right")


def test_sampling_goes_on_while_adapters_come_and_go(folder: Path, denoiser: Denoiser) -> None:
    base = denoiser.sample(rows(), noise()[0])[:, 0]
    ended = threading.Event()
    chunks: list[np.ndarray] = []

    def sample() -> None:
        while not ended.is_set():
            chunks.append(1e3 * (denoiser.sample(rows(), noise()[0])[:, 0] - base))  # mrad

    sampler = threading.Thread(target=sample)
    sampler.start()
    for turn in range(1, 11):
        denoiser.load(shifting_adapter(folder, f"turn {turn}", 0.01 * turn))
        denoiser.activate(f"turn {turn}")
        if turn > 1:
            denoiser.drop(f"turn {turn - 1}")
    ended.set()
    sampler.join()
    assert chunks
    for chunk in chunks:  # each is that of one adapter or of the base, whole
        np.testing.assert_allclose(chunk, 10 * round(chunk[0] / 10), atol=0.01)


def test_a_change_takes_effect_with_the_next_fresh_chunk(folder: Path) -> None:
    actor, plain = Actor(load_bundle(folder)), Actor(load_bundle(folder))
    actor.denoiser.load(shifting_adapter(folder, "left", 0.1))
    shifts = []
    for tick in range(9):
        if tick == 4:  # in the middle of a standing plan
            actor.denoiser.activate("left")
        context = Context(tick * PERIOD_NS, rows())
        change = actor.answer(context).positions - plain.answer(context).positions
        shifts.append(round(float(change[0, 0]), 5))
    assert shifts == [0.0] * 6 + [0.1] * 3


def test_a_graph_whose_inputs_for_adapters_are_not_the_manifests_is_refused(folder: Path) -> None:
    bundle = load_bundle(folder)
    out, width = bundle.manifest.adaptable[LAYER]
    for adaptable, complaint in (
        ({}, "input 'adapted' for adapters has shape .*says None"),
        ({LAYER: (out, width + 1)}, rf"input '{LAYER}\.down'"),
        ({**bundle.manifest.adaptable, "denoiser.more": (out, width)}, r"input 'denoiser\.more\.down'.* shape None"),
    ):
        write_manifest(folder, bundle.spec, {}, adaptable)
        with pytest.raises(BundleError, match=complaint):
            Denoiser(load_bundle(folder))
