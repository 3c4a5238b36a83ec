"""Every command: help with an example, and one line that names thing, value and mend when its input is bad."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.synthetic_bundle import write_synthetic_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
COMMANDS = (
    ("-m", "policy_server.train"),
    ("-m", "policy_server.train_stages"),
    ("-m", "policy_server.export"),
    ("-m", "policy_server.dataset"),
    ("-m", "policy_server.muon"),
    ("-m", "policy_server.ladder"),
    ("-m", "policy_server.compare_optimizers"),
    ("-m", "policy_server.comparison.run"),
    ("-m", "sim_bridge.collect"),
    ("-m", "sim_bridge.evaluate"),
    ("-m", "sim_bridge.sim"),
    ("-m", "sim_bridge.robot_sim"),
    ("-m", "sim_bridge.robot_soak"),
    ("-m", "sim_bridge.check_experts"),
    ("-m", "sim_bridge.study"),
    ("-m", "policy_server.quantise"),
    ("-m", "policy_server.finetune"),
    ("-m", "policy_server.lora"),
    ("-m", "policy_server.lora.lab"),
    ("-m", "ros_nodes.adapters"),
    ("-m", "ros_nodes.calibrate"),
    ("-m", "ros_nodes.doctor"),
    ("-m", "ros_nodes.operate"),
    ("-m", "ros_nodes.franka.fuzz"),
    ("benchmarks/bench_graph.py",),
    ("benchmarks/bench_guard.py",),
    ("benchmarks/bench_context.py",),
    ("benchmarks/bench_tick.py",),
    ("benchmarks/bench_bundles.py",),
    ("benchmarks/bench_chunks.py",),
    ("benchmarks/bench_delay.py",),
    ("benchmarks/bench_adapters.py",),
    ("benchmarks/bench_backends.py",),
    ("benchmarks/bench_lead.py",),
    ("benchmarks/bench_candidates.py",),
    ("benchmarks/bench_muon.py",),
    ("benchmarks/bench_render.py",),
    ("benchmarks/bench_sampling.py",),
    ("benchmarks/bench_training.py",),
    ("benchmarks/bench_windows.py",),
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[-1])
def test_help_shows_an_example(command: tuple[str, ...]) -> None:
    shown = run(*command, "--help")
    assert shown.returncode == 0, shown.stderr
    assert "example: python " in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "sim_bridge.collect", "--task", "reach_qued"), "reach_qued"),
        (("-m", "sim_bridge.evaluate", "--task", "reach_cued", "--bundle", "nowhere"), "no bundle at 'nowhere'"),
        (("-m", "sim_bridge.sim", "--bundle", "nowhere"), "no bundle at 'nowhere'"),
        (("-m", "sim_bridge.sim", "--task", "reach_cue"), "reach_cued"),
        (("-m", "sim_bridge.sim", "--task", "shell_game"), "no bundle for 'shell_game' ships"),
        (
            ("-m", "policy_server.train", "config/training/reach_cued.yaml", "stepz=5"),
            "unknown key 'stepz'; did you mean 'steps'?",
        ),
        (("-m", "policy_server.train", "config/training/reach_cued.yaml", "steps=many"), "'steps'"),
        (("-m", "policy_server.train", "config/training/reach_cued.yaml", "steps"), "write it as key=value"),
        (("-m", "policy_server.train", "nowhere.yaml"), "no file 'nowhere.yaml'"),
        (
            ("-m", "policy_server.train", "config/training/reach_cued.yaml", "dataset=nowhere"),
            "no dataset at 'nowhere'",
        ),
        (
            ("-m", "policy_server.train_stages", "config/training/stages_reach_cued.yaml", "encoder.objectiv=dynamics"),
            "unknown key 'encoder.objectiv'; did you mean 'objective'?",
        ),
        (("-m", "policy_server.export", "nowhere", "--output", "nowhere/bundle"), "no checkpoint in 'nowhere'"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1].rsplit(".", 1)[-1],
)
def test_bad_input_ends_in_one_line_and_status_2(arguments: tuple[str, ...], message: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]
    assert "Traceback" not in ended.stderr


def test_a_bundle_for_another_task_is_refused_before_anything_starts(tmp_path: Path) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle")
    ended = run("-m", "sim_bridge.evaluate", "--task", "press_count", "--bundle", str(bundle))
    assert ended.returncode == 2
    assert "trained for 'reach_cued', not for 'press_count'" in ended.stderr
