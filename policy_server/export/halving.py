"""Networks with 16-bit weights and arithmetic, for GPUs."""

from pathlib import Path

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from policy_server.runtime.bundle import DENOISER_FILE, ENCODER_FILE, Bundle


def halve_networks_of(bundle: Bundle, folder: Path) -> None:
    """Write a bundle's networks with float16 inside into ``folder``; what goes in and comes out stays as it is."""
    for name in (ENCODER_FILE, DENOISER_FILE) if bundle.spec.cameras else (DENOISER_FILE,):
        model = convert_float_to_float16(onnx.load(bundle.path / name), keep_io_types=True)
        onnx.save(model, folder / name)
