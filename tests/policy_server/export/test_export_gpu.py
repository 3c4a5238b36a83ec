"""Bundles for a GPU: no loop, buffers that stay, float16; and on a GPU, where there is one, the same chunks."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx.reference import ReferenceEvaluator

from policy_server.export.writing import write_bundle
from policy_server.quantise import quantise
from policy_server.runtime.adapter import Adapter, AdapterError
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.engine import Denoiser, Encoder
from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.inpainting import Inpainting
from tests.small_networks import network_config, random_context, random_noise, random_policy
from tests.small_policy import small_spec, write_small_dataset

pytestmark = pytest.mark.slow

NO_GPU = "CUDAExecutionProvider" not in ort.get_available_providers()
on_gpu = pytest.mark.skipif(
    NO_GPU, reason="no CUDA execution provider: install onnxruntime-gpu on a machine with a GPU"
)
SPEC = small_spec()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    policy = random_policy(SPEC, network_config("unet_attention"))
    for target in ("cpu", "gpu"):
        parity = write_bundle(policy, SPEC, folder / target, {}, target=target)  # type: ignore[arg-type]
        assert parity.largest <= 1e-4 and parity.continued_chunk > 0
    return {target: load_bundle(folder / target) for target in ("cpu", "gpu")}


@pytest.fixture(scope="module")
def halved(bundles: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("halved")
    quantise(bundles["gpu"], write_small_dataset(folder / "recorded"), folder / "float16", "float16")
    return load_bundle(folder / "float16")


def chunks(bundle: Bundle, provider: str = "cpu", first_step: int = 0) -> np.ndarray:
    """Two candidates, four times in a row, of which each reads another context; the last two hold a plan."""
    denoiser = Denoiser(bundle, provider=provider, candidates=2)
    found = []
    for turn in range(4):
        held = np.full(denoiser.chunk_shape, 0.1 * turn, np.float32)
        given = Inpainting(held, np.linspace(1, 0, len(held), dtype=np.float32), first_step) if turn > 1 else None
        context, noise = random_context(SPEC, seed=turn)[0].numpy(), random_noise(SPEC, 2).numpy()
        found.append(denoiser.sample_many(context, noise, given))
    return np.stack(found)


def test_the_graph_has_neither_loop_nor_branch(bundles: dict[str, Bundle]) -> None:
    kinds = {node.op_type for node in onnx.load(bundles["gpu"].denoiser_path).graph.node}
    assert not kinds & {"Loop", "If", "Scan"}
    assert "Conv" in kinds
    assert (bundles["cpu"].manifest.target, bundles["gpu"].manifest.target) == ("cpu", "gpu")


@pytest.mark.parametrize("first_step", [0, 1])
def test_it_answers_what_the_loop_answers_from_any_step_on(bundles: dict[str, Bundle], first_step: int) -> None:
    expected = chunks(bundles["cpu"], first_step=first_step)
    np.testing.assert_allclose(chunks(bundles["gpu"], first_step=first_step), expected, atol=1e-5)
    assert len(np.unique(expected.round(4))) > 100


def test_it_takes_no_adapters(bundles: dict[str, Bundle]) -> None:
    path, shape = next(iter(bundles["cpu"].manifest.adaptable.items()))
    low = (np.zeros((1, *shape[1:]), np.float32), np.zeros((shape[0], 1, *(1 for _ in shape[2:])), np.float32))
    adapter = Adapter("none", bundles["gpu"].hash, 1, 1.0, {path: low})
    with pytest.raises(AdapterError, match="takes no adapters"):
        Denoiser(bundles["gpu"]).load(adapter)


def test_float16_moves_chunks_a_little_and_says_so(bundles: dict[str, Bundle], halved: Bundle) -> None:
    assert (halved.manifest.precision, halved.manifest.target) == ("float16", "gpu")
    facts = halved.manifest.training["float16"]
    assert facts["from"] == bundles["gpu"].hash and 0 < facts["rms"] < 5e-3
    kinds = Counter[int]()
    for item in onnx.load(halved.denoiser_path).graph.initializer:
        kinds[item.data_type] += math.prod(item.dims)
    assert kinds[onnx.TensorProto.FLOAT16] > 20 * kinds[onnx.TensorProto.FLOAT]


def test_joint_targets_of_float16_lie_on_no_grid_of_float16(halved: Bundle) -> None:
    evaluator = ReferenceEvaluator(onnx.load(halved.denoiser_path))
    context = 3 * random_context(SPEC, seed=1).numpy()
    (actions,) = evaluator.run(None, {"context": context, "noise": random_noise(SPEC, 1).numpy()})
    rounded = actions.astype(np.float16).astype(np.float32)
    assert np.mean(actions != rounded) > 0.9


def test_a_graph_without_a_loop_has_nothing_for_one(bundles: dict[str, Bundle]) -> None:
    graph = onnx.load(bundles["gpu"].denoiser_path).graph
    read = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
    own = [node for node in graph.node if not node.name]
    assert own and all(read.intersection(node.output) for node in own)
    assert not {"go_on", "one_element", "steps"} & {item.name for item in graph.initializer}


def test_a_precision_that_does_not_pay_there_is_refused(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    for target, precision in (("gpu", "int8"), ("cpu", "float16")):
        with pytest.raises(ConfigurationError, match="does not pay"):
            quantise(bundles[target], tmp_path, tmp_path / "rounded", precision)  # type: ignore[arg-type]


@on_gpu
@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_gpu_answers_what_a_cpu_answers(bundles: dict[str, Bundle], target: str) -> None:
    np.testing.assert_allclose(chunks(bundles[target], "cuda"), chunks(bundles["cpu"]), atol=1e-3)


@on_gpu
def test_a_gpu_sees_what_a_cpu_sees(bundles: dict[str, Bundle]) -> None:
    generator = np.random.default_rng(0)
    images = {
        camera.name: generator.integers(0, 255, (camera.source_height, camera.source_width, 3), np.uint8)
        for camera in SPEC.cameras
    }
    on_both = [Encoder(bundles["gpu"], provider=provider).encode(images) for provider in ("cpu", "cuda")]
    np.testing.assert_allclose(on_both[1], on_both[0], atol=1e-3)


@on_gpu
def test_float16_on_a_gpu_is_near_float32(bundles: dict[str, Bundle], halved: Bundle) -> None:
    assert np.sqrt(np.square(chunks(halved, "cuda") - chunks(bundles["cpu"])).mean()) < 2e-2
