"""The denoiser graph's nodes that take a standing plan: how it is scaled, what of it is kept, where sampling begins.

In the graph they stand between the projection and the loop; ``Diffusion.hold`` and ``Diffusion.start`` are the same in torch. With the
inputs' defaults (nothing held, first step 0) every number that reaches the loop is the one that reaches it without them.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from policy_server.runtime.inpainting import FIRST_STEP_INPUT, HELD_INPUT, HELD_WEIGHT_INPUT, inpainting_shapes

KEPT, FREE = "kept", "free"
"""What a denoising step reads: the given part of the clean chunk (1, H, A), and the share of each row that is not given (H, 1)."""

START, STEPS_LEFT = "start", "steps_left"
"""What the loop begins with (N, H, A), and how many steps it takes."""


def holding_nodes() -> list[onnx.NodeProto]:
    """From ``anchor``, ``noise`` and the inputs to what the loop reads."""
    return [
        helper.make_node("Sub", [HELD_INPUT, "anchor"], ["held_from_anchor"]),
        helper.make_node("Sub", ["held_from_anchor", "middle"], ["held_ranged"]),
        helper.make_node("Div", ["held_ranged", "half_range"], ["held_scaled"]),
        helper.make_node("Unsqueeze", [HELD_WEIGHT_INPUT, "last_axis"], ["share"]),
        helper.make_node("Mul", ["share", "held_scaled"], [KEPT]),
        helper.make_node("Sub", ["one", "share"], [FREE]),
        helper.make_node("Gather", ["sampling_alphas", FIRST_STEP_INPUT], ["alpha"]),
        helper.make_node("Sub", ["one", "alpha"], ["noise_variance"]),
        helper.make_node("Sqrt", ["alpha"], ["plan_gain"]),
        helper.make_node("Sqrt", ["noise_variance"], ["noise_gain"]),
        helper.make_node("Mul", ["plan_gain", "held_scaled"], ["plan_part"]),
        helper.make_node("Mul", ["noise_gain", "noise"], ["noise_part"]),
        helper.make_node("Add", ["plan_part", "noise_part"], ["noised_plan"]),
        helper.make_node("Greater", [FIRST_STEP_INPUT, "no_steps"], ["is_warm"]),
        helper.make_node("Where", ["is_warm", "noised_plan", "noise"], [START]),
        helper.make_node("Sub", ["steps", FIRST_STEP_INPUT], [STEPS_LEFT]),
    ]


def holding_constants(sampling_alphas: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """What these nodes read, and is no input."""
    return {
        "sampling_alphas": sampling_alphas,
        "one": np.array(1.0, np.float32),
        "no_steps": np.array(0, np.int64),
        "last_axis": np.array([1], np.int64),
    }


def holding_defaults(chunk_shape: Sequence[int]) -> dict[str, NDArray[np.generic]]:
    """Defaults of the inputs: hold nothing, leave no step out."""
    horizon, actions = chunk_shape
    return {
        name: np.zeros(shape, np.int64 if name == FIRST_STEP_INPUT else np.float32)
        for name, shape in inpainting_shapes(horizon, actions).items()
    }


def holding_inputs(chunk_shape: Sequence[int]) -> list[onnx.ValueInfoProto]:
    """Declarations of the inputs, for a chunk of (H, A)."""
    return [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in holding_defaults(chunk_shape).items()
    ]
