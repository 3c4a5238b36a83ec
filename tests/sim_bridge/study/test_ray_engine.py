"""Cells as tasks of a Ray cluster on this machine."""

from pathlib import Path

import pytest

from sim_bridge.study.cell_run import CELL_FILE, Failure
from sim_bridge.study.configuration import CollectionConfig, load_study
from sim_bridge.study.plan import make_plan
from sim_bridge.study.progress import Display
from sim_bridge.study.ray_engine import RayEngine
from sim_bridge.study.run import RunLimits, run_cells
from tests.sim_bridge.study.synthetic_study import ROOT

pytest.importorskip("ray", reason="Ray is not installed: pip install -c constraints.txt '.[study-ray]'")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_collects_trains_and_gives_results_and_failures_back(tmp_path: Path) -> None:
    """Of two cells one asks for what cannot be trained; the other one's result comes back all the same."""
    grid = "grids=[{task: [reach_cued], context_length: [2], backbone: [unet_film], method: [broken, naive]}]"
    plan = make_plan(
        load_study(
            ROOT / "config/study/smoke.yaml",
            [
                grid,
                "comparisons=[]",
                "methods={naive: {}, broken: {training: {steps: 0}}}",
                f"tasks.reach_cued.dataset={tmp_path / 'data'}",
                f"output={tmp_path / 'work'}",
                f"results={tmp_path / 'results'}",
            ],
        ),
        ROOT,
    )
    engine = RayEngine("local", 0.0, CollectionConfig())
    assert engine.slots >= 1
    with Display() as display:
        assert run_cells(plan, engine, RunLimits(), display) == []
    broken, naive = plan.cells
    assert isinstance(plan.failures[broken.hash], Failure) and "steps=0" in plan.failures[broken.hash].error
    assert plan.results[naive.hash].episodes == 3
    assert (plan.folder(naive) / CELL_FILE).exists()
