import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_server.runtime.adapter import Adapter, AdapterBaseError, AdapterError
from policy_server.runtime.adapter_inputs import (
    ADAPTED_INPUT,
    adapter_inputs,
    check_adapter,
    graph_inputs,
    input_names,
)
from policy_server.runtime.bundle import load_bundle
from tests.adaptable_bundle import LAYER, random_adapter, shifting_adapter, write_adaptable_bundle
from tests.synthetic_bundle import write_synthetic_bundle

HASH = "0" * 64
WEIGHTS = {"denoiser.linear": (5, 7), "denoiser.convolution": (4, 6, 3)}


@given(rank=st.integers(1, 5), seed=st.integers(0, 3))
def test_the_inputs_of_a_graph_take_adapters_of_any_rank(rank: int, seed: int) -> None:
    values = adapter_inputs(random_adapter("small", HASH, WEIGHTS, rank=rank, seed=seed))
    assert {name: value.shape for name, value in values.items()} == graph_inputs(WEIGHTS, rank)
    assert values[ADAPTED_INPUT] == 1


@given(alpha=st.floats(-4, 4), rank=st.integers(1, 4))
def test_the_inputs_hold_the_scaled_change_of_the_weight(alpha: float, rank: int) -> None:
    adapter = dataclasses.replace(random_adapter("small", HASH, WEIGHTS, rank=rank), alpha=alpha)
    values = adapter_inputs(adapter)
    down, up = (values[name] for name in input_names("denoiser.linear"))
    np.testing.assert_allclose((down @ up).T, adapter.change_of("denoiser.linear"), atol=1e-6)
    down, up = (values[name] for name in input_names("denoiser.convolution"))
    np.testing.assert_allclose(np.tensordot(up[..., 0], down, 1), adapter.change_of("denoiser.convolution"), atol=1e-6)


def test_a_graph_without_adaptable_layers_has_no_inputs_for_adapters() -> None:
    assert graph_inputs({}) == {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_adaptable_bundle(tmp_path / "bundle")


def with_layers(adapter: Adapter, path: str, out: int, width: int) -> Adapter:
    return random_adapter("other", adapter.base_hash, {path: (out, width)})


def test_an_adapter_of_another_base_is_refused_with_both_hashes(folder: Path) -> None:
    bundle = load_bundle(folder)
    adapter = dataclasses.replace(shifting_adapter(folder, "left", 0.1), base_hash=HASH)
    with pytest.raises(AdapterBaseError, match=f"{HASH}.*{bundle.hash}"):
        check_adapter(adapter, bundle)


def test_a_layer_that_does_not_fit_is_named(folder: Path) -> None:
    bundle, adapter = load_bundle(folder), shifting_adapter(folder, "left", 0.1)
    check_adapter(adapter, bundle)
    out, width = bundle.manifest.adaptable[LAYER]
    with pytest.raises(
        AdapterError, match=rf"layer '{LAYER}': .* shape \[{out}, {width + 1}\], the bundle's is \[{out}"
    ):
        check_adapter(with_layers(adapter, LAYER, out, width + 1), bundle)
    with pytest.raises(AdapterError, match=rf"layer 'denoiser.laier', which takes no adapter.*did you mean '{LAYER}'"):
        check_adapter(with_layers(adapter, "denoiser.laier", out, width), bundle)


def test_the_encoders_layers_are_served_merged_only(folder: Path) -> None:
    bundle, adapter = load_bundle(folder), shifting_adapter(folder, "left", 0.1)
    with pytest.raises(AdapterError, match=r"layer 'encoder\.head\.1' of the encoder, .* merged only"):
        check_adapter(with_layers(adapter, "encoder.head.1", 8, 12), bundle)


def test_a_bundle_whose_graph_takes_no_adapters_says_so(tmp_path: Path) -> None:
    bundle = load_bundle(write_synthetic_bundle(tmp_path / "plain"))
    with pytest.raises(AdapterError, match="takes no adapters, so 'small' cannot be loaded: export it again"):
        check_adapter(random_adapter("small", bundle.hash, WEIGHTS), bundle)
