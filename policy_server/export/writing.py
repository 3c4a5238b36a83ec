"""Write a bundle from a trained policy."""

import os
import shutil
from pathlib import Path
from typing import Any

import onnx

from policy_server.export.graphs import export_denoiser, export_encoder
from policy_server.export.parity import Parity, check_parity, measure_parity
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.bundle import DENOISER_FILE, ENCODER_FILE, load_bundle, write_manifest
from policy_server.runtime.manifest import PolicySpec


def write_bundle(policy: DiffusionPolicy, spec: PolicySpec, folder: Path, training: dict[str, Any]) -> Parity:
    """Export both graphs and the manifest, check parity, and only then put the folder in place.

    Raises:
        ParityError: the exported graphs do not answer what torch answers; nothing is left in ``folder``.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    policy.eval()
    sizes = [(camera.height, camera.width) for camera in spec.cameras]
    onnx.save(export_encoder(policy, sizes), partial / ENCODER_FILE)
    denoiser = export_denoiser(
        policy, spec.history.length, spec.row_width, spec.action.horizon, len(spec.action.joints)
    )
    onnx.save(denoiser, partial / DENOISER_FILE)
    write_manifest(partial, spec, training)
    parity = measure_parity(policy, load_bundle(partial))
    check_parity(parity)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return parity
