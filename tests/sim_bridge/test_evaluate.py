import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policy_server.runtime.errors import ConfigurationError
from policy_server.runtime.verification import VerificationError
from sim_bridge import evaluate as command
from sim_bridge.episode import EngineConfig, EpisodeResult
from sim_bridge.evaluate import EvaluateConfig, evaluate, evaluate_through_graph
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
