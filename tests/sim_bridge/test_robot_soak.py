"""Policy motion over libfranka's protocol while faults strike."""

import os
from pathlib import Path

import pytest

from policy_server.runtime.resources import resource
from ros_nodes.graph import RobotSimOptions
from sim_bridge.graph_output import shown_and_logged
from sim_bridge.loopback.robot import LoopbackRobotError, franka_sim_python
from sim_bridge.robot_soak import report
from sim_bridge.soak.faults import FaultKind
from sim_bridge.soak.record import SoakRecord
from sim_bridge.soak.run import Soak

TASK = "reach_cued"


def patient_arm_file(folder: Path) -> Path:
    """The guard, but that it bears a policy on a machine that is busy with other tests."""
    text = resource("config/arm.yaml").read_text(encoding="utf-8")
    for name, value in (("watchdog_s", 2.0), ("max_chunk_age_s", 4.0)):
        assert f"\n{name}: " in text
        text = "\n".join(f"{name}: {value}" if line.startswith(f"{name}:") else line for line in text.split("\n"))
    file = folder / "arm.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.ros
@pytest.mark.timeout(400)
def test_no_fault_of_the_graph_makes_the_robot_stop_by_itself(
    tmp_path: Path, domain_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        franka_sim_python()
    except LoopbackRobotError as error:
        pytest.skip(str(error))
    pytest.importorskip("franky", reason="franky-control is not installed: pip install 'long_context_policy[robot]'")
    record = SoakRecord(minutes=0.5, seed=0)
    options = RobotSimOptions(
        bundle=str(resource(f"bundles/{TASK}")),
        task=TASK,
        robot_address=f"127.0.3.{1 + os.getpid() % 250}",
        output_dir=str(tmp_path),
        domain_id=domain_id,
        arm_file=str(patient_arm_file(tmp_path)),
    )
    with shown_and_logged(tmp_path / "graph.log", show=False) as on_line:
        Soak(options, record, 3.0, lambda line: None, on_line).run(lambda: False, lambda: None)
    report(record)
    assert record.reflexes_by_us == []
    assert record.left_s == 0.0, record.summary()
    assert len(record.faults) >= 2, record.summary()  # a busy machine leaves time for few
    for kind, counts in record.faults.items():
        assert counts["moved again"] == counts["struck"], kind
    if str(FaultKind.REFLEX) in record.faults:
        assert record.reflexes_injected >= 1
    assert "reflexes by us: 0" in capsys.readouterr().out
