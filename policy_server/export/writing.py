"""Write a bundle from a trained policy."""

import dataclasses
from pathlib import Path
from typing import Any

import onnx

from policy_server.export.graphs import export_denoiser, export_encoder
from policy_server.export.parity import Parity, check_parity, measure_parity
from policy_server.export.placing import placed
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.bundle import DENOISER_FILE, ENCODER_FILE, load_bundle, write_manifest
from policy_server.runtime.manifest import PolicySpec, Target
from policy_server.runtime.verification import check_candidates


def write_bundle(
    policy: DiffusionPolicy,
    spec: PolicySpec,
    folder: Path,
    training: dict[str, Any],
    *,
    adaptable: bool = True,
    target: Target = "cpu",
) -> Parity:
    """Export the graphs (no encoder for a policy without cameras) and the manifest, check parity, and only then put the folder in place.

    ``adaptable``: the denoiser takes adapters at run time; without one it answers and costs the same either way. ``target``: where it is
    to run; see ``export_denoiser``.

    Raises:
        ConfigurationError: ``folder`` holds something else than a bundle, which would be lost; see ``check_place``.
        ParityError: the exported graphs do not answer what torch answers; nothing is left in ``folder``.
        VerificationError: the spec asks for several candidates, which this policy cannot verify.
    """
    spec = _with_scales(spec, policy)
    check_candidates(spec, spec.verification.candidates)
    with placed(folder) as partial:
        policy.eval()
        if spec.cameras:
            sizes = [(camera.height, camera.width) for camera in spec.cameras]
            onnx.save(export_encoder(policy, sizes), partial / ENCODER_FILE)
        denoiser = export_denoiser(policy, spec, adaptable=adaptable, target=target)
        onnx.save(denoiser.model, partial / DENOISER_FILE)
        write_manifest(partial, spec, training, denoiser.adaptable, target=target)
        parity = measure_parity(policy, load_bundle(partial))
        check_parity(parity)
    return parity


def _with_scales(spec: PolicySpec, policy: DiffusionPolicy) -> PolicySpec:
    """The spec with the scales in which the policy learned its actions, by which candidates are compared at run time."""
    scales = tuple(round(float(scale), 6) for scale in policy.scaling.action_half_range.amax(0))
    return dataclasses.replace(spec, verification=dataclasses.replace(spec.verification, scales=scales))
