import dataclasses
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.bundle import load_bundle, write_manifest
from policy_server.runtime.engine import Denoiser, Encoder
from policy_server.runtime.errors import BundleError, ObservationError, ProviderError
from policy_server.runtime.session import open_session
from tests.synthetic_bundle import write_synthetic_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_synthetic_bundle(tmp_path / "bundle", cameras=(("front", 96, 96), ("wrist", 48, 64)))


def test_the_encoder_sees_the_pixels(folder: Path) -> None:
    red = np.zeros((96, 96, 3), np.uint8)
    red[..., 0] = 255
    embedding = Encoder(load_bundle(folder)).encode({"front": red, "wrist": np.zeros((48, 64, 3), np.uint8)})
    np.testing.assert_allclose(embedding, [1, 0, 0])


def test_a_picture_of_another_size_is_refused(folder: Path) -> None:
    encoder = Encoder(load_bundle(folder))
    with pytest.raises(ObservationError, match="camera 'wrist' gave"):
        encoder.encode({"front": np.zeros((96, 96, 3), np.uint8), "wrist": np.zeros((64, 64, 3), np.uint8)})


@pytest.mark.parametrize("context_batch", ["batch", 1])
def test_candidates_of_one_call_are_those_of_single_calls(tmp_path: Path, context_batch: int | str) -> None:
    denoiser = Denoiser(load_bundle(write_synthetic_bundle(tmp_path / "bundle", context_batch=context_batch)))
    generator = np.random.default_rng(0)
    context = generator.standard_normal((4, 12)).astype(np.float32)
    noise = generator.standard_normal((5, 8, 8)).astype(np.float32)
    candidates = denoiser.sample_many(context, noise)
    assert candidates.shape == noise.shape
    for candidate, own_noise in zip(candidates, noise, strict=True):
        np.testing.assert_array_equal(candidate, denoiser.sample(context, own_noise))
    assert len(np.unique(candidates[:, 0, 0])) == len(noise)


def test_a_provider_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(ProviderError, match="install onnxruntime-gpu"):
        open_session(folder / "encoder.onnx", "cuda", 1)
    with pytest.raises(ProviderError, match="unknown provider 'tpu'"):
        open_session(folder / "encoder.onnx", "tpu", 1)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"not a model")
    with pytest.raises(BundleError, match="does not load"):
        open_session(tmp_path / "encoder.onnx", "cpu", 1)


def test_graphs_that_do_not_fit_the_manifest_are_refused(folder: Path) -> None:
    bundle = load_bundle(folder)
    wrong_cameras = dataclasses.replace(bundle.spec, cameras=bundle.spec.cameras[:1])
    write_manifest(folder, wrong_cameras, {})
    with pytest.raises(BundleError, match="the encoder takes"):
        Encoder(load_bundle(folder))
    wrong_joints = dataclasses.replace(bundle.spec, proprioception_joints=bundle.spec.proprioception_joints[:-1])
    write_manifest(folder, wrong_joints, {})
    with pytest.raises(BundleError, match="the denoiser takes context"):
        Denoiser(load_bundle(folder))


def test_int8_weights_are_refused_where_they_would_be_computed_elsewhere(folder: Path) -> None:
    bundle = load_bundle(folder)
    rounded = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, precision="int8"))
    for network in (Encoder, Denoiser):
        with pytest.raises(ProviderError, match="ask for 'cpu'"):
            network(rounded, provider="cuda")


def test_a_run_that_fails_does_not_silently_go_on_elsewhere(folder: Path) -> None:
    session = open_session(folder / "encoder.onnx", "cpu", 1)
    assert session._enable_fallback is False
