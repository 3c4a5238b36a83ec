"""A bundle small enough to build in a test: real ONNX graphs with a known answer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from policy_server.runtime.bundle import DENOISER_FILE, ENCODER_FILE, write_manifest
from policy_server.runtime.manifest import (
    ActionSpec,
    CameraSpec,
    HistorySpec,
    PolicySpec,
    SamplerSpec,
    VerificationSpec,
)

ARM_JOINTS = tuple(f"fr3_joint{i}" for i in range(1, 8))
JOINTS = (*ARM_JOINTS, "fr3_finger_joint1")
_OPSET = [helper.make_opsetid("", 20)]
_EMBEDDING_DIM = 3  # the mean red, green and blue of the first camera


def synthetic_spec(
    *,
    cameras: Sequence[tuple[str, int, int]] = (("front", 96, 96),),
    context_length: int = 4,
    stride_ticks: int = 1,
    past_steps: int = 2,
    future_steps: int = 6,
    replan_every_ticks: int = 2,
    rate_hz: float = 10.0,
    features: Sequence[str] = (),
    task: str = "reach_cued",
    candidates: int = 1,
) -> PolicySpec:
    """With ``cameras=()`` a policy without pictures, as those are that see ``features``."""
    views = tuple(
        CameraSpec(name, height, width, (0, 0, height, width), height, width) for name, height, width in cameras
    )
    return PolicySpec(
        name="synthetic",
        task=task,
        rate_hz=rate_hz,
        cameras=views,
        proprioception_joints=JOINTS,
        history=HistorySpec(
            tuple(range((context_length - 1) * stride_ticks, -1, -stride_ticks)), _EMBEDDING_DIM if cameras else 0
        ),
        action=ActionSpec(JOINTS, past_steps, future_steps, replan_every_ticks),
        sampler=SamplerSpec("ddim", 1, 100),
        features=tuple(features),
        verification=VerificationSpec(candidates, (*(1.0,) * len(ARM_JOINTS), 0.01)),
    )


def write_synthetic_bundle(
    path: Path, *, noise_gain: float = 1e-3, context_batch: int | str = "batch", **spec_settings: object
) -> Path:
    """Encoder: mean colour of the first camera in [0, 1]. Denoiser: newest joints + ``noise_gain`` x noise, at every step.

    With ``context_batch=1`` all candidates of a call share one context.
    """
    spec = synthetic_spec(**spec_settings)  # type: ignore[arg-type]
    path.mkdir(parents=True, exist_ok=True)
    if spec.cameras:
        onnx.save(_encoder(spec), path / ENCODER_FILE)
    onnx.save(_denoiser(spec, noise_gain, context_batch), path / DENOISER_FILE)
    write_manifest(path, spec, {"how": "synthetic"})
    return path


def _encoder(spec: PolicySpec) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info(c.name, TensorProto.UINT8, ["batch", c.height, c.width, 3]) for c in spec.cameras
    ]
    nodes = [
        helper.make_node("Cast", [spec.cameras[0].name], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["embedding"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        numpy_helper.from_array(np.array(255.0, np.float32), "white"),
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", _EMBEDDING_DIM])]
    return _model(helper.make_graph(nodes, "encoder", inputs, outputs, constants))


def _denoiser(spec: PolicySpec, noise_gain: float, context_batch: int | str) -> onnx.ModelProto:
    horizon, actions = spec.action.horizon, len(spec.action.joints)
    inputs = [
        helper.make_tensor_value_info("context", TensorProto.FLOAT, [context_batch, "length", spec.row_width]),
        helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["batch", horizon, actions]),
    ]
    nodes = [
        helper.make_node("Slice", ["context", "newest", "past_end", "time_axis"], ["row"]),
        helper.make_node("Slice", ["row", "first_joint", "joints_end", "column_axis"], ["joints"]),
        helper.make_node("Mul", ["noise", "gain"], ["wobble"]),
        helper.make_node("Add", ["joints", "wobble"], ["actions"]),
    ]
    first_joint = 1 + spec.history.embedding_dim
    integers = {"newest": -1, "past_end": 2**31 - 1, "time_axis": 1, "column_axis": 2}
    integers |= {"first_joint": first_joint, "joints_end": first_joint + actions}
    constants = [numpy_helper.from_array(np.array([value], np.int64), name) for name, value in integers.items()]
    constants.append(numpy_helper.from_array(np.array(noise_gain, np.float32), "gain"))
    outputs = [helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["batch", horizon, actions])]
    return _model(helper.make_graph(nodes, "denoiser", inputs, outputs, constants))


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=_OPSET, ir_version=10)
    onnx.checker.check_model(model)
    return model
