"""The synthetic bundle with a denoiser that continues a standing plan; a graph made by hand, so quick to have."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from policy_server.export.holding import holding_defaults, holding_inputs
from policy_server.runtime.bundle import DENOISER_FILE, load_bundle, write_manifest
from policy_server.runtime.inpainting import FIRST_STEP_INPUT, HELD_INPUT, HELD_WEIGHT_INPUT
from policy_server.runtime.manifest import SamplerSpec
from tests.synthetic_bundle import write_synthetic_bundle

SAMPLING_STEPS = 5


def write_continuable_bundle(path: Path, **settings: object) -> Path:
    """Answers as the synthetic bundle does, each row drawn to the held one by its weight; of a warm start by ``first_step`` tenths more,
    in every row, so that all that is handed over can be read from the answer."""
    write_synthetic_bundle(path, context_batch=1, **settings)  # type: ignore[arg-type]
    spec = load_bundle(path).spec
    spec = dataclasses.replace(spec, sampler=SamplerSpec("ddim", SAMPLING_STEPS, 100))
    chunk = (spec.action.horizon, len(spec.action.joints))
    model = onnx.load(path / DENOISER_FILE)
    graph = model.graph
    graph.node[-1].output[0] = "free"
    float_type = onnx.TensorProto.FLOAT
    graph.node.extend(
        [
            helper.make_node("Cast", [FIRST_STEP_INPUT], ["steps_left_out"], to=float_type),
            helper.make_node("Mul", ["steps_left_out", "tenth"], ["drawn"]),
            helper.make_node("Unsqueeze", [HELD_WEIGHT_INPUT, "time_axis"], ["firmness"]),
            helper.make_node("Add", ["firmness", "drawn"], ["share"]),
            helper.make_node("Sub", [HELD_INPUT, "free"], ["distance"]),
            helper.make_node("Mul", ["share", "distance"], ["pull"]),
            helper.make_node("Add", ["free", "pull"], ["actions"]),
        ]
    )
    graph.input.extend(holding_inputs(chunk))
    constants = {"tenth": np.array(0.1, np.float32), **holding_defaults(chunk)}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model)
    onnx.save(model, path / DENOISER_FILE)
    write_manifest(path, spec, {"how": "synthetic"})
    return path
