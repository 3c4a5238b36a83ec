import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policy_server.runtime.adapter import AdapterBaseError, write_adapter
from policy_server.runtime.bundle import load_bundle
from policy_server.runtime.errors import ConfigurationError, PolicyError
from policy_server.runtime.resources import resource
from policy_server.runtime.verification import VerificationError
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge import evaluate as command
from sim_bridge.asynchronous import AsynchronousConfig
from sim_bridge.episode import EngineConfig, EpisodeResult, PolicyEpisodes, world_for
from sim_bridge.evaluate import EvaluateConfig, evaluate, evaluate_through_graph
from sim_bridge.task_config import load_task_config
from tests.adaptable_bundle import shifting_adapter, write_adaptable_bundle
from tests.synthetic_bundle import write_synthetic_bundle


@pytest.mark.parametrize("run", [evaluate, evaluate_through_graph])
@pytest.mark.parametrize(
    ("engine", "error"),
    [(EngineConfig(candidates=3), VerificationError), (EngineConfig(replan_every_ticks=9), ConfigurationError)],
    ids=["candidates", "replan"],
)
def test_a_schedule_that_the_bundle_cannot_run_is_refused_before_any_process_starts(
    tmp_path: Path,
    engine: EngineConfig,
    error: type[Exception],
    run: Callable[[EvaluateConfig], Iterator[EpisodeResult]],
) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle", past_steps=0)
    with pytest.raises(error, match="policy 'synthetic'"):
        next(run(EvaluateConfig(bundle, "reach_cued", 4, 0, workers=2, engine=engine)))


@pytest.mark.parametrize("run", [evaluate, evaluate_through_graph])
def test_an_adapter_of_another_base_is_refused_before_any_process_starts(
    tmp_path: Path, run: Callable[[EvaluateConfig], Iterator[EpisodeResult]]
) -> None:
    bundle = write_adaptable_bundle(tmp_path / "bundle")
    adapter = dataclasses.replace(shifting_adapter(bundle, "shift", 0.1), base_hash="0" * 64)
    write_adapter(tmp_path / "shift.safetensors", adapter)
    engine = EngineConfig(adapter=tmp_path / "shift.safetensors")
    with pytest.raises(AdapterBaseError, match="adapter 'shift'"):
        next(run(EvaluateConfig(bundle, "reach_cued", 1, 0, workers=2, engine=engine)))


def test_an_adapter_leads_the_arm_elsewhere(tmp_path: Path) -> None:
    bundle = write_adaptable_bundle(tmp_path / "bundle", noise_gain=0.0)
    write_adapter(tmp_path / "shift.safetensors", shifting_adapter(bundle, "shift", 0.1))

    def ends_at(engine: EngineConfig) -> float:
        world = world_for(load_bundle(bundle), load_task_config("reach_cued"))
        guard = load_guard_settings(resource("config/arm.yaml"))
        angles_rad: list[float] = []
        episodes = PolicyEpisodes(load_bundle(bundle), load_task_config("reach_cued"), guard, engine)
        episodes.run(world, 0, lambda seen: angles_rad.append(float(seen.joint_positions()[0])))
        return angles_rad[10]

    assert abs(ends_at(EngineConfig(adapter=tmp_path / "shift.safetensors")) - ends_at(EngineConfig())) > 1e-3


def test_the_figures_say_how_the_bundle_was_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle", candidates=3, noise_gain=0.0)
    file = tmp_path / "figures.json"
    options = f"--bundle {bundle} --task reach_cued --episodes 1 --workers 1 --replan-every-ticks 4 --json {file}"
    monkeypatch.setattr(sys, "argv", ["evaluate", *options.split()])
    assert command.main() == 0
    figures = json.loads(file.read_text())
    assert (figures["candidates"], figures["replan_every_ticks"]) == (3, 4)
    assert str(file) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("late", "complaint"),
    [
        (AsynchronousConfig("real_time_chunking", 600), "a delay of 6 ticks: .* policy 'synthetic' has 6 future steps"),
        (AsynchronousConfig("latest", 600), "a delay of 6 ticks"),
        (AsynchronousConfig("latest", 250), "a multiple of 100 ms"),
        (AsynchronousConfig("latest", 0, 1), "skips 1 of 1 sampling steps"),
        (AsynchronousConfig("real_time_chunking", 200), "cannot continue a standing plan"),
    ],
)
def test_a_delay_that_cannot_be_simulated_is_refused_before_any_process_starts(
    tmp_path: Path, late: AsynchronousConfig, complaint: str
) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle")
    with pytest.raises(PolicyError, match=complaint):
        next(evaluate(EvaluateConfig(bundle, "reach_cued", 4, 0, 2, EngineConfig(asynchronous=late))))


def test_the_graph_takes_no_injected_delay(tmp_path: Path) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle")
    engine = EngineConfig(asynchronous=AsynchronousConfig("latest", 100))
    with pytest.raises(ConfigurationError, match="leave out --graph"):
        next(evaluate_through_graph(EvaluateConfig(bundle, "reach_cued", 1, 0, 1, engine)))


def test_a_delayed_evaluation_says_so_and_judges_the_motion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle", cameras=(), features=("hand_x_m",), noise_gain=0.02)
    file = tmp_path / "figures.json"
    options = f"--bundle {bundle} --task reach_cued --episodes 1 --workers 1 --execution blocking --delay-ms 200 --json {file}"
    monkeypatch.setattr(sys, "argv", ["evaluate", *options.split()])
    assert command.main() == 0
    figures = json.loads(file.read_text())
    assert figures["asynchronous"] == {"execution": "blocking", "delay_ms": 200, "warm_start": 0}
    assert figures["results"][0]["smoothness"]["set_points"]["seam"] > 0
