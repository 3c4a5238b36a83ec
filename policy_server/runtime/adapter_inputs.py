"""How an adapter reaches the denoiser's graph: names and shapes of the inputs that carry it. The export writes them, the engine fills them.

Every adaptable layer has two inputs, ``down`` and ``up``, with zeros as default, of any rank each: the layer's output gets
``(x · down) · up`` added, by products for a linear layer, by convolutions for Conv1d. One more input says whether an adapter is there
at all. Inputs of layers that an adapter leaves alone keep their default.
"""

import difflib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from policy_server.runtime.adapter import Adapter, AdapterError, check_base
from policy_server.runtime.bundle import Bundle

ANY_RANK = -1  # stands for the free size in a shape
# Not a bool and not a scalar: ONNX Runtime's adapter files hold neither.
ADAPTED_INPUT = "adapted"
DEFAULT_RANK = 1  # of the zeros; a convolution with no channel at all is not to be had from every execution provider


def input_names(path: str) -> tuple[str, str]:
    """The two graph inputs of layer ``path``: down, up."""
    return f"{path}.down", f"{path}.up"


def input_shapes(weight: tuple[int, ...], rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of down and up for a layer whose weight is (out, in) or (out, in, kernel)."""
    out, in_, *kernel = weight
    if kernel:
        return (rank, in_, *kernel), (out, rank, 1)
    return (in_, rank), (rank, out)


def graph_inputs(adaptable: Mapping[str, tuple[int, ...]], rank: int = ANY_RANK) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all inputs of a graph with these adaptable layers, (out, in) or (out, in, kernel); none of a graph with none."""
    shapes: dict[str, tuple[int, ...]] = {ADAPTED_INPUT: (1,)} if adaptable else {}
    for path, weight in adaptable.items():
        shapes |= dict(zip(input_names(path), input_shapes(weight, rank), strict=True))
    return shapes


def adapter_inputs(adapter: Adapter) -> dict[str, NDArray[np.float32]]:
    """An adapter as the graph's inputs, its scaling applied."""
    values = {ADAPTED_INPUT: np.ones(1, np.float32)}
    for path, (down, up) in adapter.layers.items():
        scaled = np.float32(adapter.scaling) * up
        pair = (down.T, scaled.T) if down.ndim == 2 else (down, scaled)
        values |= {name: np.ascontiguousarray(value) for name, value in zip(input_names(path), pair, strict=True)}
    return values


def check_adapter(adapter: Adapter, bundle: Bundle) -> None:
    """Refuse an adapter that does not fit a bundle.

    Raises:
        AdapterBaseError: it was made for another bundle.
        AdapterError: the bundle takes no adapters, or not on one of the layers, or a layer has another shape.
    """
    check_base(adapter, bundle.hash)
    adaptable = bundle.manifest.adaptable
    if not adaptable:
        raise AdapterError(
            f"bundle '{bundle.path}' takes no adapters, so '{adapter.name}' cannot be loaded: export it again "
            "(python -m policy_server.export), or merge the adapter (python -m policy_server.lora merge)"
        )
    for path, (down, up) in adapter.layers.items():
        _check_layer(adapter.name, path, (len(up), *down.shape[1:]), adaptable)


def _check_layer(name: str, path: str, weight: tuple[int, ...], adaptable: Mapping[str, tuple[int, ...]]) -> None:
    if path.startswith("encoder."):
        raise AdapterError(
            f"adapter '{name}' changes layer '{path}' of the encoder, which is served merged only: python -m policy_server.lora merge"
        )
    if path not in adaptable:
        near = difflib.get_close_matches(path, adaptable, n=1)
        mend = f"did you mean '{near[0]}'?" if near else "was it trained on another network?"
        raise AdapterError(f"adapter '{name}' changes layer '{path}', which takes no adapter here; {mend}")
    if weight != adaptable[path]:
        raise AdapterError(
            f"adapter '{name}', layer '{path}': it changes a weight of shape {list(weight)}, the bundle's is {list(adaptable[path])}: "
            "was it trained on another network?"
        )
