import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from policy_server.runtime.adapter import (
    Adapter,
    AdapterBaseError,
    AdapterError,
    check_base,
    read_adapter,
    write_adapter,
)

BASE, OTHER = "a" * 64, "b" * 64

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


def pair(rank: int, inputs: int, outputs: int, kernel: tuple[int, ...] = (), seed: int = 0) -> Pair:
    generator = np.random.default_rng(seed)
    down = generator.standard_normal((rank, inputs, *kernel)).astype(np.float32)
    return down, generator.standard_normal((outputs, rank, *(1 for _ in kernel))).astype(np.float32)


def small_adapter(*, rank: int = 2, **changes: object) -> Adapter:
    layers = {
        "denoiser.out": pair(rank, 5, 3),
        "denoiser.first": pair(rank, 4, 6, (3,), 1),
        "encoder": pair(rank, 2, 4, (3, 5)),
    }
    training = {"task": "reach_cued", "demonstrations": 10, "share": 0.5}
    values: dict[str, object] = {"name": "table", "base_hash": BASE, "rank": rank, "alpha": 8.0, "layers": layers}
    return Adapter(**(values | {"training": training} | changes))  # type: ignore[arg-type]


@settings(max_examples=25)
@given(
    rank=st.integers(1, 5), alpha=st.floats(-1e6, 1e6), kernel=st.sampled_from([(), (1,), (5,), (3, 3)]), name=st.text()
)
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rank: int, alpha: float, kernel: tuple[int, ...], name: str
) -> None:
    file = tmp_path_factory.mktemp("adapter") / "a.safetensors"
    written = small_adapter(rank=rank, alpha=alpha, name=name or "x", layers={"a.b": pair(rank, 3, 4, kernel)})
    write_adapter(file, written)
    read = read_adapter(file)
    assert (read.name, read.base_hash, read.rank, read.alpha) == (written.name, BASE, rank, alpha)
    assert read.training == written.training
    for kept, given_ in zip(read.layers["a.b"], written.layers["a.b"], strict=True):
        np.testing.assert_array_equal(kept, given_)
        assert kept.dtype == np.float32


def test_the_change_of_a_layer_is_the_scaled_product_in_the_shape_of_its_weight() -> None:
    adapter = small_adapter(rank=2, alpha=8.0)
    down, up = adapter.layers["denoiser.first"]
    expected = 4.0 * sum(up[:, r][:, :, None] * down[r] for r in range(2))
    np.testing.assert_allclose(adapter.change_of("denoiser.first"), expected, rtol=1e-5)
    assert adapter.change_of("denoiser.out").shape == (3, 5)
    assert adapter.change_of("encoder").shape == (4, 2, 3, 5)
    assert adapter.parameters == 2 * (5 + 3) + 2 * (4 * 3 + 6) + 2 * (2 * 15 + 4)


def test_another_base_is_refused_with_both_hashes() -> None:
    check_base(small_adapter(), BASE)
    with pytest.raises(AdapterBaseError, match=f"{BASE}.*{OTHER}"):
        check_base(small_adapter(), OTHER)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"base_hash": "none"}, "no hash"),
        ({"name": ""}, "without a name"),
        ({"layers": {}}, "no layer"),
        ({"alpha": float("nan")}, "alpha nan"),
        ({"layers": {"q": pair(3, 4, 4)}}, r"'q'.*\(3, 4\)"),
        ({"layers": {"q": (np.zeros((2, 4), np.float32), np.zeros((4, 2, 1), np.float32))}}, "'q'"),
        ({"layers": {"q": (np.zeros((2, 4), np.float64), np.zeros((4, 2), np.float32))}}, "float64"),
        ({"layers": {"q": (np.full((2, 4), np.nan, np.float32), np.zeros((4, 2), np.float32))}}, "not finite"),
    ],
)
def test_what_does_not_hold_together_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(AdapterError, match=reason):
        small_adapter(**changes)  # type: ignore[arg-type]


def test_a_missing_and_a_truncated_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    with pytest.raises(AdapterError, match=r"a\.safetensors"):
        read_adapter(file)
    write_adapter(file, small_adapter())
    whole = file.read_bytes()
    for length in (0, 4, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(AdapterError, match=r"a\.safetensors.*truncated"):
            read_adapter(file)
    file.write_bytes(struct.pack("<Q", 2**60) + whole[8:])
    with pytest.raises(AdapterError, match="truncated"):
        read_adapter(file)


def rewritten(file: Path, drop_tensor: str = "", **metadata: str) -> None:
    tensors = {name: value for name, value in load_file(file).items() if not name.endswith(drop_tensor or "-")}
    facts = {"schema": "1", "name": "x", "base_hash": BASE, "rank": "2", "alpha": "8.0", "training": "{}"} | metadata
    save_file(tensors, file, facts)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": "2"}, "schema 2"),
        ({"rank": "many"}, "many"),
        ({"training": "{"}, "does not hold together"),
        ({"drop_tensor": "out.lora_B.weight"}, "no pair"),
    ],
)
def test_a_file_of_another_content_is_refused(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    file = tmp_path / "a.safetensors"
    write_adapter(file, small_adapter())
    rewritten(file)
    assert read_adapter(file).name == "x"
    rewritten(file, **change)
    with pytest.raises(AdapterError, match=reason):
        read_adapter(file)


def test_a_file_of_other_tensors_is_refused(tmp_path: Path) -> None:
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(AdapterError, match="schema None"):
        read_adapter(tmp_path / "w.safetensors")


def test_a_write_that_fails_leaves_the_adapter_that_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    write_adapter(file, small_adapter())
    unwritable = dataclasses.replace(small_adapter(name="other"), training={"when": object()})
    with pytest.raises(TypeError):
        write_adapter(file, unwritable)
    assert read_adapter(file).name == "table"
