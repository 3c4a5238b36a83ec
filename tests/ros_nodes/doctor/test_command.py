"""The command: lines, exit status, report, and a check that breaks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from policy_server.runtime.errors import ConfigurationError
from ros_nodes.doctor import __main__ as command
from ros_nodes.doctor.checks import CHECKS, Check
from ros_nodes.doctor.finding import ok
from tests.synthetic_bundle import write_synthetic_bundle


def test_a_passing_check_gives_status_0_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "deep/doctor.json"
    assert command.main(["--only", "files", "--json", str(report)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("ok    arm file: ") and printed[-1].endswith(f"all of it is in {report}")
    content = json.loads(report.read_text(encoding="utf-8"))
    assert content["failed"] == 0 and content["findings"][0]["check"] == "files"


def test_a_failing_check_gives_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle")
    assert command.main([f"bundle={bundle}", "robot=fer", "--only", "bundle"]) == 1
    assert "fail  bundle's joints" in capsys.readouterr().out


def test_a_damaged_bundle_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_synthetic_bundle(tmp_path / "bundle")
    (bundle / "denoiser.onnx").write_bytes(b"")
    assert command.main([f"bundle={bundle}", "--only", "bundle"]) == 1
    assert "truncated or altered" in capsys.readouterr().out


def test_a_check_that_breaks_does_not_silence_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_examination: object) -> list:
        raise ZeroDivisionError("no\nway")

    checks = (
        Check("bad", "", lambda s: 0.0, broken),
        Check("good", "", lambda s: 0.0, lambda e: [ok("thing", "well")]),
    )
    monkeypatch.setattr(command, "CHECKS", checks)
    assert command.main([]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("fail  bad: ZeroDivisionError: no way") and printed[1] == "ok    thing: well"


def test_the_address_and_a_file_of_options_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "doctor.yaml"
    file.write_text("robot: fer\nlisten_s: 9.0\n", encoding="utf-8")
    arguments = command._parse(["provider=cuda", "--config", str(file), "--robot", "172.16.0.2", "listen_s=1.0"])
    settings = command._settings(arguments)
    assert (settings.robot, settings.robot_address, settings.listen_s) == ("fer", "172.16.0.2", 1.0)
    assert settings.provider == "cuda"


def test_a_check_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no check 'camera'; there are .*cameras"):
        command.main(["--only", "camera"])


def test_every_check_has_a_name_of_its_own_and_says_what_it_does() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.about for check in CHECKS)


def test_a_report_that_cannot_be_written_is_an_error_with_a_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="name another file"):
        command.main(["--only", "files", "--json", str(tmp_path / "file/doctor.json")])


def test_help_lists_the_checks_and_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "example: python " in shown
    assert all(f"\n  {check.name} " in shown for check in CHECKS)


@pytest.mark.slow
def test_without_ros_the_other_checks_still_speak() -> None:
    code = "import sys; sys.modules['rclpy'] = None; from ros_nodes.doctor.__main__ import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["--only", "ros,transport,images,files,cameras,joints,controllers", "cameras=false"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "fail  ROS 2: rclpy is not installed" in ended.stdout
    assert "ok    arm file" in ended.stdout and "skip  controllers: ROS 2 is not usable, see above" in ended.stdout
    assert "Error" not in ended.stdout + ended.stderr
