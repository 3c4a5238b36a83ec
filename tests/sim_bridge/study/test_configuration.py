from pathlib import Path

import pytest
import yaml

from policy_server.lora.finetuning import FinetuneConfig, training_of
from policy_server.runtime.configuration import build
from policy_server.runtime.errors import ConfigurationError, PolicyError
from policy_server.runtime.recording import DATASET_SCHEMA, CameraShape, DatasetInfo
from policy_server.training.checkpoint import Checkpoint
from policy_server.training.configuration import TrainingConfig, policy_spec
from policy_server.training.stages import StagesConfig, check_stages
from sim_bridge.study.cells import expand
from sim_bridge.study.configuration import load_study
from sim_bridge.task_config import load_task_config
from sim_bridge.tasks.registry import task_by_name
from tests.sim_bridge.study.synthetic_study import ROOT

SHIPPED = sorted((ROOT / "config/study").glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_study_can_be_expanded(file: Path) -> None:
    config = load_study(file)
    cells = expand(config)
    assert cells and config.name == file.stem
    for method in config.methods:
        assert any(cell.method == method for cell in cells), f"no grid asks for {method}"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_cell_of_a_shipped_study_is_a_policy_that_can_be_trained(file: Path) -> None:
    config = load_study(file)
    for cell in expand(config):
        values = {"name": cell.id, "output": "out", **cell.training}
        joints = ("fr3_joint1", "fr3_finger_joint1")
        cameras = load_task_config(cell.task).cameras if config.collection.images else ()
        shapes = tuple(CameraShape(camera.name, camera.height, camera.width) for camera in cameras)
        features = task_by_name(cell.task).feature_names
        info = DatasetInfo(DATASET_SCHEMA, cell.task, 10.0, shapes, joints, joints, features)
        training = build(TrainingConfig, values, cell.id)
        spec = policy_spec(training, info)
        assert spec.history.length == cell.context_length and bool(spec.features) != bool(spec.cameras)
        if cell.finetune:
            asked = build(FinetuneConfig, {"base": "base", "output": "out", **cell.finetune}, cell.id)
            start = Checkpoint(9, training, spec, {}, {}, {}, 1, "", [])
            tuned = training_of(asked, start)
            assert tuned.steps == cell.steps and policy_spec(tuned, info).history == spec.history
        if cell.stages:
            check_stages(build(StagesConfig, {**cell.stages, "training": values}, cell.id))


def write(tmp_path: Path, **changes: object) -> Path:
    values = {
        "name": "trial",
        "title": "A trial",
        "output": "runs/trial",
        "results": "results",
        "tasks": {"reach_cued": {"dataset": "d", "demonstrations": 4, "stride_ticks": 1}},
        "grids": [{"task": ["reach_cued"], "context_length": [2]}],
    }
    file = tmp_path / "trial.yaml"
    file.write_text(yaml.safe_dump(values | changes))
    return file


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"grid": []}, "did you mean 'grids'"),
        ({"tasks": {"reach_cude": {"dataset": "d", "demonstrations": 4, "stride_ticks": 1}}}, "reach_cude"),
        (
            {"tasks": {"reach_cued": {"dataset": "d", "demonstrations": 4, "stride": 1}}},
            "unknown key 'tasks.reach_cued.stride'",
        ),
        ({"grids": [{"task": ["push_to_goal"], "context_length": [2]}]}, "unknown 'push_to_goal'"),
        ({"grids": [{"task": ["reach_cued"]}]}, "'context_length' is missing"),
        ({"grids": [{"task": ["reach_cued"], "context_lenght": [2]}]}, "did you mean 'context_length'"),
        ({"grids": [{"task": ["reach_cued"], "context_length": [2], "method": ["ptp"]}]}, "unknown 'ptp'"),
        ({"grids": [{"task": ["reach_cued"], "context_length": ["long"]}]}, "whole numbers"),
        ({"comparisons": [{"name": "c", "a": {"method": "x"}, "b": {"seed": 1}}]}, "the same axes"),
        ({"comparisons": [{"name": "c", "a": {"methd": "x"}, "b": {"methd": "y"}}]}, "did you mean 'method'"),
        ({"plots": [{"name": "p", "title": "t", "lines": ["methods"]}]}, "did you mean 'method'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, changes: dict, named: str) -> None:
    with pytest.raises(PolicyError, match=named):
        load_study(write(tmp_path, **changes))


def test_settings_can_be_replaced_on_the_command_line(tmp_path: Path) -> None:
    assert load_study(write(tmp_path), ["evaluation.episodes=7"]).evaluation.episodes == 7
    with pytest.raises(ConfigurationError, match="did you mean 'episodes'"):
        load_study(write(tmp_path), ["evaluation.episode=7"])
