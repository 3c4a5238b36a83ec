"""Bundles with 8-bit weights."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from policy_server.export import chunk_change
from policy_server.export.chunk_change import PrecisionError, measure_change, provider_for
from policy_server.export.quantising import quantise_denoiser
from policy_server.export.writing import write_bundle
from policy_server.model.policy import DiffusionPolicy, ModelConfig
from policy_server.model.unet import UnetConfig
from policy_server.quantise import quantise
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.errors import ConfigurationError, DatasetError
from policy_server.runtime.manifest import Precision
from policy_server.runtime.recording import CameraShape, create_dataset
from tests.small_networks import random_extremes, small_encoder
from tests.small_policy import INFO, small_spec, write_small_dataset
from tests.synthetic_bundle import write_synthetic_bundle

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


def test_two_products_of_a_weight_fit_into_16_bits(rounded: Bundle) -> None:
    for path in (rounded.denoiser_path, rounded.encoder_path):
        weights = [each for item in onnx.load(path).graph.initializer if (each := numpy_helper.to_array(item)).dtype == np.int8]
        assert weights and all(2 * 255 * int(np.abs(each.astype(int)).max()) < 2**15 for each in weights)


def test_products_and_convolutions_are_of_integers(bundle: Bundle, rounded: Bundle) -> None:
    assert "DynamicQuantizeMatMul" in kinds(rounded.denoiser_path) - kinds(bundle.denoiser_path)
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds(rounded.encoder_path) - kinds(bundle.encoder_path)
    sizes = [each.denoiser_path.stat().st_size for each in (bundle, rounded)]
    assert sizes[1] < 0.7 * sizes[0]


def test_a_bundle_is_not_rounded_twice(rounded: Bundle, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has int8 weights already"):
        quantise(rounded, dataset, tmp_path / "again")


@pytest.fixture
def quick(tmp_path: Path) -> Bundle:
    """A bundle made by hand that fits the small dataset."""
    cameras = [(camera.name, camera.height, camera.width) for camera in INFO.cameras]
    return load_bundle(write_synthetic_bundle(tmp_path / "quick", cameras=cameras))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"cameras": INFO.cameras[:1]}, "of camera 'wrist' no pictures, .* wants 24 x 24"),
        ({"cameras": (CameraShape("front", 48, 40), INFO.cameras[1])}, "camera 'front' 48 x 40, .* wants 32 x 40"),
        (
            {"proprioception_joints": INFO.proprioception_joints[::-1]},
            "has joints fr3_finger_joint1, .* wants fr3_joint1",
        ),
        ({"rate_hz": 20.0}, "a rate in Hz of 20.0, .* wants 10.0"),
        ({}, "has no whole episode"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused_and_nothing_is_left(
    quick: Bundle, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    create_dataset(tmp_path / "other", dataclasses.replace(INFO, **changes))
    with pytest.raises(DatasetError, match=complaint):
        quantise(quick, tmp_path / "other", tmp_path / "int8")
    assert not list(tmp_path.glob("int8*"))


def test_features_of_another_order_are_refused(dataset: Path, tmp_path: Path) -> None:
    bundle = load_bundle(write_synthetic_bundle(tmp_path / "bundle", cameras=(), features=INFO.features[::-1]))
    with pytest.raises(DatasetError, match=r"has features lamp_red, goal_x, goal_y, .* wants goal_y, goal_x, lamp_red"):
        quantise(bundle, dataset, tmp_path / "int8")


def test_the_source_is_never_replaced(quick: Bundle, dataset: Path) -> None:
    with pytest.raises(ConfigurationError, match="the bundle that this one is made from"):
        quantise(quick, dataset, quick.path)
    assert load_bundle(quick.path).hash == quick.hash


@pytest.mark.parametrize(("where", "error"), [("reference", DatasetError), ("other", PrecisionError)])
def test_a_change_that_is_not_finite_is_refused(
    quick: Bundle, dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str, error: type[Exception]
) -> None:
    other = Bundle(tmp_path / "other", quick.manifest)
    broken = quick if where == "reference" else other

    def chunks(bundle: Bundle, *_: object) -> np.ndarray:
        return np.full((1, 8, 8), np.nan if bundle is broken else 0.0, np.float32)

    monkeypatch.setattr(chunk_change, "_chunks", chunks)
    with pytest.raises(error, match="numbers that are not finite"):
        measure_change(quick, other, dataset)


@pytest.mark.parametrize(
    ("providers", "precision", "where"),
    [
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "float16", "cuda"),
        (["CPUExecutionProvider"], "float16", "cpu"),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "int8", "cpu"),
    ],
)
def test_float16_is_measured_on_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, providers: list[str], precision: Precision, where: str
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    assert provider_for(precision) == where


def test_defaults_of_an_adapters_inputs_stay_inputs() -> None:
    """Of a layer as wide as this they are large enough to be rounded."""
    width = 4096
    nodes = [
        helper.make_node("MatMul", ["context", "weight"], ["base"]),
        helper.make_node("MatMul", ["context", "layer.down"], ["low"]),
    ]
    floats = [("context", [1, width]), ("layer.down", [width, "rank"])]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "denoiser",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in floats],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("base", "low")],
            [
                numpy_helper.from_array(np.ones((width, columns), np.float32), name)
                for name, columns in (("weight", 2), ("layer.down", 1))
            ],
        )
    )
    quantise_denoiser(model)
    assert [node.op_type for node in model.graph.node] == ["DynamicQuantizeMatMul", "MatMul"]
    assert "layer.down" in {item.name for item in model.graph.initializer}
