import dataclasses
from pathlib import Path

import pytest
import yaml

from policy_server.runtime.bundle import load_bundle, write_manifest
from policy_server.runtime.errors import BundleError
from tests.synthetic_bundle import synthetic_spec, write_synthetic_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_synthetic_bundle(tmp_path / "bundle")


def test_a_bundle_comes_back_as_it_was_written(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.spec == synthetic_spec()
    assert len(bundle.hash) == 64


def test_a_missing_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle at"):
        load_bundle(tmp_path / "nowhere")


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "encoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"encoder\.onnx is missing"):
        load_bundle(folder)


def test_a_truncated_file_is_named(folder: Path) -> None:
    file = folder / "denoiser.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"denoiser\.onnx is truncated or altered"):
        load_bundle(folder)


def change_manifest(folder: Path, **values: object) -> None:
    file = folder / "manifest.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **values}))


def test_a_manifest_changed_after_export_is_refused(folder: Path) -> None:
    change_manifest(folder, training={"how": "better"})
    with pytest.raises(BundleError, match="changed after export"):
        load_bundle(folder)


def test_an_unknown_manifest_key_is_refused_with_the_nearest_one(folder: Path) -> None:
    change_manifest(folder, polcy={})
    with pytest.raises(BundleError, match="unknown key 'polcy'; did you mean 'policy'"):
        load_bundle(folder)


def test_another_schema_is_refused(folder: Path) -> None:
    change_manifest(folder, schema=99)
    with pytest.raises(BundleError, match="schema 99"):
        load_bundle(folder)


def test_a_bundle_without_cameras_needs_no_encoder(tmp_path: Path) -> None:
    folder = write_synthetic_bundle(tmp_path, cameras=(), features=("lamp_red",))
    assert not (folder / "encoder.onnx").exists()
    assert load_bundle(folder).spec.state_names[-1] == "lamp_red"


def test_a_bundle_with_cameras_but_without_encoder_is_refused(folder: Path) -> None:
    (folder / "encoder.onnx").unlink()
    write_manifest(folder, synthetic_spec(), {})
    with pytest.raises(BundleError, match=r"lists no encoder\.onnx"):
        load_bundle(folder)


def test_a_bundle_without_cameras_but_with_an_encoder_is_refused(folder: Path) -> None:
    write_manifest(folder, synthetic_spec(cameras=()), {})
    with pytest.raises(BundleError, match=r"no camera but an encoder\.onnx"):
        load_bundle(folder)


def test_an_embedding_without_a_camera_is_refused(tmp_path: Path) -> None:
    folder = write_synthetic_bundle(tmp_path, cameras=())
    spec = synthetic_spec(cameras=())
    write_manifest(folder, dataclasses.replace(spec, history=synthetic_spec().history), {})
    with pytest.raises(BundleError, match="0 cameras do not go with an embedding of width 3"):
        load_bundle(folder)


def test_layers_that_take_an_adapter_are_part_of_the_hash(folder: Path) -> None:
    plain = load_bundle(folder)
    write_manifest(folder, plain.spec, plain.manifest.training, {"denoiser.layer": (8, 12)})
    adaptable = load_bundle(folder)
    assert adaptable.manifest.adaptable == {"denoiser.layer": (8, 12)}
    assert adaptable.hash != plain.hash


def test_a_bundle_from_before_there_were_adapters_keeps_its_hash(folder: Path) -> None:
    before = load_bundle(folder).hash
    assert "adaptable" not in yaml.safe_load((folder / "manifest.yaml").read_text())
    assert write_manifest(folder, synthetic_spec(), {"how": "synthetic"}, {}).hash == before
