"""The bundle: a folder with ``manifest.yaml``, ``denoiser.onnx`` and, for a policy with cameras, ``encoder.onnx``.

It is refused when anything does not fit.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from policy_server.runtime import configuration
from policy_server.runtime.errors import BundleError, ConfigurationError
from policy_server.runtime.manifest import SCHEMA_VERSION, Manifest, PolicySpec, Precision, Target

MANIFEST_FILE = "manifest.yaml"
ENCODER_FILE = "encoder.onnx"
DENOISER_FILE = "denoiser.onnx"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are the ones that were written. Only one of a policy with cameras has an encoder."""

    path: Path
    manifest: Manifest

    @property
    def spec(self) -> PolicySpec:
        return self.manifest.policy

    @property
    def hash(self) -> str:
        return self.manifest.hash

    @property
    def encoder_path(self) -> Path:
        return self.path / ENCODER_FILE

    @property
    def denoiser_path(self) -> Path:
        return self.path / DENOISER_FILE


def load_bundle(path: str | Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: the folder or a file is missing, a file's sha256 or the manifest's hash differs, the manifest's schema or
            keys are not those of this version, or cameras, embedding and encoder do not belong together.
    """
    folder = Path(path)
    if not (folder / MANIFEST_FILE).is_file():
        raise BundleError(
            f"no bundle at '{folder}' ({MANIFEST_FILE} is missing): give the folder that the export wrote"
        )
    manifest = _read_manifest(folder / MANIFEST_FILE)
    _check_parts(folder, manifest)
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise BundleError(f"bundle '{folder}': {name} is missing: copy the whole folder again")
        if sha256_of(file) != expected:
            raise BundleError(
                f"bundle '{folder}': {name} is truncated or altered (its sha256 differs): copy or export it again"
            )
    return Bundle(folder, manifest)


def write_manifest(
    folder: Path,
    policy: PolicySpec,
    training: dict[str, Any],
    adaptable: Mapping[str, tuple[int, ...]] | None = None,
    precision: Precision = "float32",
    target: Target = "cpu",
) -> Manifest:
    """Write ``manifest.yaml`` beside the ONNX files already in ``folder``; hashes are computed here.

    ``adaptable``: layers that take an adapter, ``precision``, ``target``: see ``Manifest``.
    """
    files = {file.name: sha256_of(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST_FILE}
    manifest = Manifest(SCHEMA_VERSION, policy, files, training, dict(adaptable or {}), precision, target)
    manifest = dataclasses.replace(manifest, hash=_hash_of(manifest))
    text = yaml.safe_dump(_to_plain(manifest), sort_keys=False, default_flow_style=None, width=120)
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return manifest


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_parts(folder: Path, manifest: Manifest) -> None:
    """Cameras, embedding and encoder come together or not at all."""
    has_cameras, embedding_dim = bool(manifest.policy.cameras), manifest.policy.history.embedding_dim
    for name in (ENCODER_FILE, DENOISER_FILE) if has_cameras else (DENOISER_FILE,):
        if name not in manifest.files:
            raise BundleError(f"bundle '{folder}': the manifest lists no {name}: export it again")
    if not has_cameras and ENCODER_FILE in manifest.files:
        raise BundleError(f"bundle '{folder}': the policy has no camera but an {ENCODER_FILE}: export it again")
    if has_cameras != (embedding_dim > 0):
        raise BundleError(
            f"bundle '{folder}': {len(manifest.policy.cameras)} cameras do not go with an embedding of width {embedding_dim}: "
            "export it again"
        )


def _read_manifest(file: Path) -> Manifest:
    try:
        values = configuration.read_yaml(file)
        if values.get("schema") != SCHEMA_VERSION:
            raise BundleError(
                f"bundle '{file.parent}' has schema {values.get('schema')}, this version reads {SCHEMA_VERSION}: export it again"
            )
        manifest = configuration.build(Manifest, values, str(file))
    except ConfigurationError as error:
        raise BundleError(f"bundle manifest does not fit: {error}") from None
    if _hash_of(manifest) != manifest.hash:
        raise BundleError(
            f"bundle '{file.parent}': the manifest was changed after export (its hash differs): export it again"
        )
    return manifest


def _hash_of(manifest: Manifest) -> str:
    plain = _to_plain(dataclasses.replace(manifest, hash=""))
    return hashlib.sha256(yaml.safe_dump(plain, sort_keys=True).encode()).hexdigest()


def _to_plain(manifest: Manifest) -> dict[str, Any]:
    """As YAML can hold it. Bundles from before there were adapters, precisions and targets name none, and keep their hash."""
    plain: dict[str, Any] = configuration.to_plain(manifest)
    if not manifest.adaptable:
        del plain["adaptable"]
    if manifest.precision == "float32":
        del plain["precision"]
    if manifest.target == "cpu":
        del plain["target"]
    return plain
