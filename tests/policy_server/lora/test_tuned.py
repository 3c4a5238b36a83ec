"""What a run with adapter becomes: a file for the exported base, merged bundles, interpolations. One export takes seconds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from policy_server.export.writing import write_bundle
from policy_server.lora.description import describe_adapter, describe_plan, describe_tuned, effective_rank
from policy_server.lora.interpolation import write_interpolations, write_merged
from policy_server.lora.tuned import Tuned, make_adapter, read_tuned
from policy_server.lora.weights import InterpolationError, interpolated, merge_adapter
from policy_server.model.policy import DiffusionPolicy
from policy_server.runtime.adapter import AdapterBaseError, AdapterError, check_base, read_adapter, write_adapter
from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.engine import Denoiser
from policy_server.runtime.errors import ConfigurationError
from policy_server.training.checkpoint import BEST_FILE, choose_checkpoint, save_checkpoint
from policy_server.training.configuration import LoraSettings, OptimizerConfig, TrainingConfig
from tests.policy_server.lora.tuned_runs import lora_config, train_base, trainer_of
from tests.small_networks import random_context, random_noise
from tests.small_policy import write_small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def base(dataset: Path) -> TrainingConfig:
    return train_base(dataset, dataset.parent / "base", steps=3)


@pytest.fixture(scope="module")
def tuned(base: TrainingConfig) -> Tuned:
    config = lora_config(base, base.output.parent / "tuned", steps=3)
    trainer_of(dataclasses.replace(config, optimizer=OptimizerConfig(learning_rate=0.05, warmup_steps=1))).run()
    return read_tuned(config.output)


@pytest.fixture(scope="module")
def base_bundle(base: TrainingConfig) -> Bundle:
    return load_bundle(exported(base.output, base.output.parent / "bundles" / "base"))


def exported(run: Path, folder: Path, sampling_steps: int = 2) -> Path:
    checkpoint = choose_checkpoint(run)
    spec = dataclasses.replace(
        checkpoint.spec, sampler=dataclasses.replace(checkpoint.spec.sampler, steps=sampling_steps)
    )
    policy = DiffusionPolicy(spec, checkpoint.config.model)
    policy.load_state_dict(checkpoint.average)
    write_bundle(policy, spec, folder, {})
    return folder


def test_a_run_with_adapter_knows_its_base_even_when_that_is_gone(tuned: Tuned, base: TrainingConfig) -> None:
    started = choose_checkpoint(base.output).average
    assert tuned.base.keys() == tuned.tuned.keys() == started.keys()
    for name, value in tuned.base.items():
        assert torch.equal(value, started[name])
    assert {name for name in started if not torch.equal(tuned.tuned[name], started[name])} == {
        f"{path}.weight" for path in tuned.adapter
    }


@pytest.mark.slow
def test_the_adapters_file_makes_of_the_base_what_was_trained(
    tuned: Tuned, base_bundle: Bundle, tmp_path: Path
) -> None:
    write_adapter(tmp_path / "a.safetensors", make_adapter(tuned, base_bundle, "a"))
    adapter = read_adapter(tmp_path / "a.safetensors")
    check_base(adapter, base_bundle.hash)
    policy = DiffusionPolicy(tuned.spec, tuned.config.model)
    policy.load_state_dict(tuned.base)
    merge_adapter(policy, adapter)
    for name, value in policy.state_dict().items():
        torch.testing.assert_close(value, tuned.tuned[name], rtol=0, atol=1e-6)
    assert adapter.training["demonstrations"] == 2 and adapter.training["task"] == "reach_cued"


@pytest.mark.slow
def test_the_bundle_of_another_base_gets_no_adapter(
    tuned: Tuned, base: TrainingConfig, base_bundle: Bundle, dataset: Path, tmp_path: Path
) -> None:
    other = train_base(dataset, tmp_path / "other", steps=4)
    with pytest.raises(AdapterBaseError, match="answers otherwise than the run's base"):
        make_adapter(tuned, load_bundle(exported(other.output, tmp_path / "other_bundle")), "a")
    full = dataclasses.replace(tuned, adapter={})
    with pytest.raises(AdapterError, match="no adapter"):
        make_adapter(full, base_bundle, "a")
    wider = dataclasses.replace(tuned, config=dataclasses.replace(tuned.config, model=type(base.model)()))
    with pytest.raises(AdapterBaseError, match="another network"):
        make_adapter(wider, base_bundle, "a")


@pytest.mark.slow
def test_merged_bundles_lie_on_the_way_and_are_not_written_twice(
    tuned: Tuned, base_bundle: Bundle, tmp_path: Path
) -> None:
    told: list[float] = []
    assert write_interpolations(tuned, [0.0, 1.0], tmp_path, on_bundle=lambda alpha, _: told.append(alpha))
    assert told == [0.0, 1.0]
    context, noise = random_context(tuned.spec)[0].numpy(), random_noise(tuned.spec).numpy()
    chunks = {}
    for alpha in told:
        bundle = load_bundle(tmp_path / f"alpha_{alpha:g}")
        policy = DiffusionPolicy(tuned.spec, tuned.config.model)
        policy.load_state_dict(interpolated(tuned.base, tuned.tuned, alpha))
        chunks[alpha] = Denoiser(bundle).sample_many(context, noise)
        with torch.no_grad():
            expected = policy.sample(torch.from_numpy(context)[None], torch.from_numpy(noise)).numpy()
        np.testing.assert_allclose(chunks[alpha], expected, rtol=0, atol=1e-4)
    assert np.abs(chunks[0.0] - chunks[1.0]).max() > 1e-3
    written = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.onnx")}
    assert write_interpolations(tuned, [1.0, 0.0], tmp_path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.onnx")} == written
    assert not write_interpolations(tuned, [0.5], tmp_path, should_stop=lambda: True)
    assert not (tmp_path / "alpha_0.5").exists()


def test_interpolation_refuses_before_anything_is_written(tuned: Tuned, tmp_path: Path) -> None:
    with pytest.raises(InterpolationError, match="give each once"):
        write_interpolations(tuned, [0.5, 0.5], tmp_path / "out")
    with pytest.raises(InterpolationError, match="share 2"):
        write_interpolations(tuned, [0.5, 2.0], tmp_path / "out")
    with pytest.raises(InterpolationError, match="share -1"):
        write_merged(tuned, tmp_path / "out", -1.0)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_full_tuning_reads_its_base_from_where_it_started(base: TrainingConfig, tmp_path: Path) -> None:
    config = lora_config(base, tmp_path / "full", lora=LoraSettings(), steps=2)
    trainer_of(config).run()
    read = read_tuned(config.output)
    started = choose_checkpoint(base.output).average
    assert read.adapter == {}
    assert all(torch.equal(read.base[name], value) for name, value in started.items())
    assert "in full" in describe_tuned(read)[0]
    with pytest.raises(ConfigurationError, match="give its folder with --base-run"):
        read_tuned(config.output, base=tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="started from nothing"):
        read_tuned(base.output)


def test_a_base_that_was_moved_is_read_from_the_checkpoint_that_the_run_started_from(
    base: TrainingConfig, tmp_path: Path
) -> None:
    last = choose_checkpoint(base.output)
    best = dataclasses.replace(last, average={name: value + 1 for name, value in last.average.items()})
    moved, run = tmp_path / "moved", tmp_path / "full"
    save_checkpoint(moved, last)
    config = dataclasses.replace(last.config, output=run, start_from=tmp_path / "gone", start_checkpoint="best")
    save_checkpoint(run, dataclasses.replace(last, config=config))
    with pytest.raises(ConfigurationError, match=r"no best\.pt in .*gone.* give its folder with --base-run"):
        read_tuned(run)
    with pytest.raises(ConfigurationError, match=r"no best\.pt in .*moved"):
        read_tuned(run, base=moved)
    save_checkpoint(moved, best, BEST_FILE)
    read = read_tuned(run, base=moved)
    assert all(torch.equal(read.base[name], value) for name, value in best.average.items())


def test_descriptions_say_what_is_changed_and_how_much(tuned: Tuned, base: TrainingConfig) -> None:
    lines = describe_tuned(tuned)
    assert "adapter of rank 2" in lines[0] and "%" in lines[0]
    assert len(lines) == 3 + len(tuned.adapter)
    assert all(line.rsplit(maxsplit=1)[-1] in ("1", "2") for line in lines[3:])  # directions, of rank 2
    plan = "\n".join(describe_plan(choose_checkpoint(base.output), LoraSettings(4, targets=("attention",))))
    assert "adapter of rank 4 on attention" in plan and "conditioning  0 of" in plan


@pytest.mark.slow
def test_the_description_of_a_file_names_base_and_layers(tuned: Tuned, base_bundle: Bundle) -> None:
    text = "\n".join(describe_adapter(make_adapter(tuned, base_bundle, "table")))
    assert base_bundle.hash in text and "table" in text and "demonstrations  2" in text
    assert all(path in text for path in tuned.adapter)


def test_the_effective_rank_counts_directions() -> None:
    generator = np.random.default_rng(0)
    down, up = generator.standard_normal((2, 12)), generator.standard_normal((8, 2))
    assert effective_rank((up @ down).reshape(8, 4, 3).astype(np.float32)) == 2
    assert effective_rank(np.zeros((3, 3), np.float32)) == 0
    assert effective_rank(np.eye(5, dtype=np.float32)) == 5
