"""What ``make sim TASK=…`` finds: a bundle that the graph can run, trained by a recipe that is committed beside it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from policy_server.runtime import configuration
from policy_server.runtime.bundle import load_bundle
from policy_server.training.configuration import TrainingConfig
from policy_server.training.stages import StagesConfig, finetuning, head
from sim_bridge.episode import check_bundle_fits
from sim_bridge.task_config import load_task_config

ROOT = Path(__file__).parents[3]
LARGEST_BYTES = 16_000_000
# Settings that do not decide what is learned, or that running decides: see ``trainer.what_is_learned``.
FREE = {"output", "threads", "checkpoint_every", "validation", "sampling_steps", "replan_every_ticks", "accumulate"}
FREE |= {"weights", "start_from"}  # files of the earlier stages, below the output
BUNDLES = sorted(folder.name for folder in (ROOT / "bundles").iterdir() if folder.is_dir())


def recipes(task: str) -> Iterator[TrainingConfig]:
    """The last stage of every committed recipe for the task."""
    for file in sorted((ROOT / "config/training").glob("*.yaml")):
        if "training" in configuration.read_yaml(file):
            stages = configuration.load(StagesConfig, file)
            config = finetuning(stages) if stages.finetune_steps else head(stages)
        else:
            config = configuration.load(TrainingConfig, file)
        if config.name == task:
            yield config


def differences(trained: Mapping[str, Any], recipe: Mapping[str, Any], where: str = "") -> list[str]:
    """Keys of ``trained`` in which the recipe says otherwise; what came later than the bundle is not in ``trained``."""
    found: list[str] = []
    for key, value in trained.items():
        if key in FREE:
            continue
        if isinstance(value, Mapping) and isinstance(recipe.get(key), Mapping):
            found += differences(value, recipe[key], f"{where}{key}.")
        elif recipe.get(key) != value:
            found.append(f"{where}{key}: {value} was trained, the recipe says {recipe.get(key)}")
    return found


@pytest.mark.parametrize("task", BUNDLES)
def test_a_shipped_bundle_is_one_that_the_graph_can_run_and_small(task: str) -> None:
    bundle = load_bundle(ROOT / "bundles" / task)
    check_bundle_fits(bundle, load_task_config(task))
    assert bundle.spec.cameras, "a policy of features cannot run over topics"
    assert sum(file.stat().st_size for file in bundle.path.rglob("*") if file.is_file()) <= LARGEST_BYTES


@pytest.mark.parametrize("task", BUNDLES)
def test_a_shipped_bundle_was_trained_by_a_committed_recipe(task: str) -> None:
    trained = load_bundle(ROOT / "bundles" / task).manifest.training
    by_recipe = [differences(trained["config"], configuration.to_plain(config)) for config in recipes(task)]
    assert [] in by_recipe, min(by_recipe, key=len, default="there is no recipe of this name")
    assert trained["steps"] in [config.steps for config in recipes(task)]


@pytest.mark.parametrize("task", BUNDLES)
def test_a_shipped_bundle_names_no_folder_of_the_machine_that_exported_it(task: str) -> None:
    for file in (ROOT / "bundles" / task).iterdir():
        content = file.read_bytes()
        assert b"/home/" not in content and b"/root/" not in content and str(ROOT).encode() not in content, file.name
