"""Bundles with 8-bit weights."""

import dataclasses
from pathlib import Path

import onnx
import pytest
import torch

from policy_server.export.writing import write_bundle
from policy_server.model.policy import DiffusionPolicy, ModelConfig
from policy_server.model.unet import UnetConfig
from policy_server.quantise import quantise
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.errors import ConfigurationError, DatasetError
from policy_server.runtime.recording import create_dataset
from tests.small_networks import random_extremes, small_encoder
from tests.small_policy import INFO, small_spec, write_small_dataset

WIDE_ENOUGH = ModelConfig(encoder=small_encoder(), unet=UnetConfig((32, 64), 3, 2))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    torch.manual_seed(0)
    spec = small_spec()
    policy = DiffusionPolicy(spec, WIDE_ENOUGH)
    policy.scaling.fit(torch.randn(50, len(spec.state_names)), random_extremes(spec))
    folder = tmp_path_factory.mktemp("bundles") / "float32"
    write_bundle(policy, spec, folder, {"steps": 7})
    return load_bundle(folder)


@pytest.fixture(scope="module")
def rounded(bundle: Bundle, dataset: Path) -> Bundle:
    folder = bundle.path.with_name("int8")
    quantise(bundle, dataset, folder)
    return load_bundle(folder)


def kinds(file: Path) -> set[str]:
    """Kinds of operators anywhere in a graph."""

    def walk(graph: onnx.GraphProto) -> set[str]:
        inner = [walk(item.g) for node in graph.node for item in node.attribute if item.HasField("g")]
        return {node.op_type for node in graph.node}.union(*inner)

    return walk(onnx.load(file).graph)


def test_the_manifest_says_the_precision_and_what_it_changed(bundle: Bundle, rounded: Bundle) -> None:
    manifest = rounded.manifest
    assert (bundle.manifest.precision, manifest.precision) == ("float32", "int8")
    assert manifest.policy == bundle.spec
    assert manifest.adaptable == bundle.manifest.adaptable
    facts = manifest.training
    assert facts["steps"] == 7 and facts["int8"]["from"] == bundle.hash
    assert facts["int8"]["samples"] == 3 + 2 + 5  # every fifth tick of 15, 9 and 22
    assert 0 < facts["int8"]["rms"] < facts["int8"]["largest"]


def test_chunks_are_close_to_those_of_float32(rounded: Bundle) -> None:
    # The actions' half range is 1 to 2 rad, and random networks use most of it.
    assert rounded.manifest.training["int8"]["rms"] < 0.02


def test_products_and_convolutions_are_of_integers(bundle: Bundle, rounded: Bundle) -> None:
    assert "DynamicQuantizeMatMul" in kinds(rounded.denoiser_path) - kinds(bundle.denoiser_path)
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds(rounded.encoder_path) - kinds(bundle.encoder_path)
    sizes = [each.denoiser_path.stat().st_size for each in (bundle, rounded)]
    assert sizes[1] < 0.7 * sizes[0]


def test_a_bundle_is_not_rounded_twice(rounded: Bundle, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has int8 weights already"):
        quantise(rounded, dataset, tmp_path / "again")


def test_episodes_without_the_bundles_cameras_are_refused_and_nothing_is_left(bundle: Bundle, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    create_dataset(blind, dataclasses.replace(INFO, cameras=INFO.cameras[:1]))
    with pytest.raises(DatasetError, match="no pictures of camera 'wrist'"):
        quantise(bundle, blind, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()
