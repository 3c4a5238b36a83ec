import sys
from pathlib import Path

import pytest

from policy_server.export.__main__ import main
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.checkpoint import Checkpoint, save_checkpoint
from policy_server.training.configuration import TrainingConfig
from tests.small_networks import network_config, network_spec, random_policy

SPEC = network_spec(sampling_steps=10)


def write_run(folder: Path) -> None:
    """The checkpoint of a run whose policy sees features."""
    config = TrainingConfig(
        "small", Path("data"), folder, features=True, model=network_config("unet_film", prediction="noise")
    )
    weights = random_policy(SPEC, config.model).state_dict()
    save_checkpoint(folder, Checkpoint(7, config, SPEC, weights, weights, {}, 1, "", []))


def export(monkeypatch: pytest.MonkeyPatch, run: Path, bundle: Path, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["export", str(run), "--output", str(bundle), *options])
    return main()


@pytest.mark.slow
def test_a_run_is_exported_again_with_few_sampling_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run")
    assert export(monkeypatch, tmp_path / "run", tmp_path / "bundle", "--sampling-steps", "2") == 0
    spec = load_bundle(tmp_path / "bundle").spec
    assert (spec.sampler.steps, spec.sampler.training_steps) == (2, 100)
    output = capsys.readouterr().out
    assert "parity with torch: chunk" in output and "chunk with an adapter" in output
    assert "bundle of step 7 (" in output
    assert str(Path.cwd()).encode() not in (tmp_path / "bundle" / "denoiser.onnx").read_bytes()


@pytest.mark.parametrize("steps", ["0", "101"])
def test_a_number_of_steps_that_was_not_trained_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: str
) -> None:
    write_run(tmp_path / "run")
    with pytest.raises(ConfigurationError, match=f"--sampling-steps {steps}: .* give 1 to 100"):
        export(monkeypatch, tmp_path / "run", tmp_path / "bundle", "--sampling-steps", steps)
    assert not (tmp_path / "bundle").exists()
