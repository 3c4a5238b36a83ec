"""Policy motion over libfranka's protocol while faults strike."""

import json
import os
import sys
from pathlib import Path

import pytest

from policy_server.runtime.errors import PolicyError
from policy_server.runtime.resources import resource
from ros_nodes.graph import RobotSimOptions
from sim_bridge.graph_output import shown_and_logged
from sim_bridge.loopback.robot import LoopbackRobotError, franka_sim_python
from sim_bridge.robot_soak import EXIT_REFLEX, main, report
from sim_bridge.soak.faults import FaultKind
from sim_bridge.soak.record import SoakConditions, SoakRecord
from sim_bridge.soak.run import Soak

TASK = "reach_cued"
CONDITIONS = SoakConditions(TASK, "", "", enforce_communication=False, every_s=3.0)


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
    record = SoakRecord(minutes=0.5, seed=0, conditions=CONDITIONS)
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


def test_silences_without_rest_are_told_since_they_fail_the_soak(capsys: pytest.CaptureFixture[str]) -> None:
    report(SoakRecord(1.0, 0, CONDITIONS, done_s=61.0, never_rested=3))
    assert "never came to rest: 3" in capsys.readouterr().out


def soak(monkeypatch: pytest.MonkeyPatch, file: Path, *options: str) -> int:
    words = ["robot_soak", "--minutes", "1", "--json", str(file), "--output", str(file.parent), *options]
    monkeypatch.setattr(sys, "argv", words)
    return main()


class Begun(Exception):
    """The robot was started."""


@pytest.fixture
def no_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting the graph ends the test."""

    def begin(*_: object, **__: object) -> None:
        raise Begun

    monkeypatch.setattr("sim_bridge.soak.run.claimed_domain", begin)


@pytest.mark.usefixtures("no_robot")
def test_a_soak_that_is_over_is_reported_without_starting_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "soak.json"
    with pytest.raises(Begun):
        soak(monkeypatch, file)
    record = begun_record(monkeypatch, file)
    file.write_text(json.dumps({**record, "done_s": 60.5, "never_rested": 1}))
    (tmp_path / "graph.log").write_text("what the nodes said\n")
    assert soak(monkeypatch, file) == EXIT_REFLEX
    assert "never came to rest: 1" in capsys.readouterr().out
    assert (tmp_path / "graph.log").read_text() == "what the nodes said\n"


def begun_record(monkeypatch: pytest.MonkeyPatch, file: Path) -> dict[str, object]:
    """What the command keeps of a soak in which nothing has happened yet."""
    with monkeypatch.context() as patch:
        patch.setattr(Soak, "run", lambda *_: None)
        soak(patch, file)
    return dict(json.loads(file.read_text()))


@pytest.mark.usefixtures("no_robot")
def test_a_full_record_starts_nothing_by_itself_either(tmp_path: Path) -> None:
    options = RobotSimOptions(bundle="none", task="none", output_dir=str(tmp_path), domain_id=0)
    full = SoakRecord(1.0, 0, CONDITIONS, done_s=60.0)
    Soak(options, full, 3.0, lambda line: None, lambda node, line: None).run(lambda: False, lambda: None)


@pytest.mark.usefixtures("no_robot")
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--enforce-communication"], "enforce communication was False and is now True"),
        (["--task", "grasp_and_return"], "task was reach_cued and is now grasp_and_return; bundle hash was"),
        (["--every-s", "5"], "every s was 10.0 and is now 5.0"),
        (["--arm-file", "ARM"], "arm file sha256 was"),
    ],
)
def test_a_soak_does_not_go_on_under_other_conditions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], named: str
) -> None:
    file = tmp_path / "soak.json"
    begun_record(monkeypatch, file)
    patient = patient_arm_file(tmp_path)
    with pytest.raises(PolicyError, match=named):
        soak(monkeypatch, file, *(str(patient) if option == "ARM" else option for option in options))
