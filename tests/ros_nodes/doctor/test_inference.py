"""The engine, its provider, and the time for a chunk."""

from pathlib import Path

import pytest

from policy_server.runtime.bundle import load_bundle
from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.doctor.inference import Engine, check_engine, check_speed, find_engine, load_library
from ros_nodes.doctor.system import System
from tests.synthetic_bundle import write_synthetic_bundle

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"


def gpu_machine(root: Path) -> System:
    (root / "proc/driver/nvidia").mkdir(parents=True)
    (root / "proc/driver/nvidia/version").write_text(DRIVER, encoding="utf-8")
    return System(root)


def gpu_engine(library: Path | None) -> Engine:
    return Engine({"onnxruntime-gpu": "1.31.1"}, (CUDA, CPU), library)


def found(engine: Engine, provider: str, system: System) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_engine(engine, provider, system)}


def test_this_environments_engine_serves_the_cpu(tmp_path: Path) -> None:
    (finding,) = check_engine(find_engine(), "cpu", System(tmp_path))
    assert finding.level == Level.OK and CPU in finding.found


def test_two_engines_that_overwrite_each_other_fail(tmp_path: Path) -> None:
    both = Engine({"onnxruntime": "1", "onnxruntime-gpu": "1"}, (CPU,), None)
    assert found(both, "cpu", System(tmp_path))["inference engine"].level == Level.FAIL


def test_an_engine_that_does_not_import_fails(tmp_path: Path) -> None:
    assert found(Engine({}, (), None), "cpu", System(tmp_path))["inference engine"].level == Level.FAIL


def test_the_cpu_engine_cannot_serve_cuda(tmp_path: Path) -> None:
    findings = found(Engine({"onnxruntime": "1"}, (CPU,), None), "cuda", gpu_machine(tmp_path))
    assert findings["CUDA provider"].level == Level.FAIL
    assert findings["GPU driver"].found == "NVIDIA 570.86.15"


def test_a_library_that_does_not_load_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "libonnxruntime_providers_cuda.so"
    broken.write_bytes(b"no library")
    finding = found(gpu_engine(broken), "cuda", gpu_machine(tmp_path))["CUDA provider"]
    assert finding.level == Level.FAIL and broken.name in finding.found


def test_libraries_that_load_and_a_driver_pass(tmp_path: Path) -> None:
    findings = check_engine(gpu_engine(tmp_path), "cuda", gpu_machine(tmp_path), load=lambda path: "")
    assert {finding.level for finding in findings} == {Level.OK}


def test_no_driver_fails(tmp_path: Path) -> None:
    assert found(gpu_engine(tmp_path), "cuda", System(tmp_path))["GPU driver"].level == Level.FAIL


def test_a_real_library_loads(tmp_path: Path) -> None:
    assert load_library(Path("libc.so.6")) == ""
    assert "none.so" in load_library(tmp_path / "none.so")


@pytest.mark.parametrize(("took_s", "level"), [(0.01, Level.OK), (0.15, Level.WARN), (0.3, Level.FAIL)])
def test_a_chunk_must_come_before_the_next_one_is_due(tmp_path: Path, took_s: float, level: Level) -> None:
    bundle = load_bundle(write_synthetic_bundle(tmp_path / "bundle"))  # a chunk every 0.2 s
    ticks = iter(range(100))
    finding = check_speed(bundle, "cpu", clock_s=lambda: next(ticks) * took_s)
    assert finding.level == level and "every 200 ms" in finding.found


def test_a_provider_that_is_not_there_fails_with_its_mend(tmp_path: Path) -> None:
    bundle = load_bundle(write_synthetic_bundle(tmp_path / "bundle"))
    finding = check_speed(bundle, "cuda")
    assert finding.level == Level.FAIL and "cuda" in finding.found and finding.mend
