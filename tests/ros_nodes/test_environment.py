"""The process environment: one ROS 2 only, one DDS profile, no leftovers in shared memory."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ros_nodes import environment
from ros_nodes.environment import child_environment, clean_shared_memory, graph_environment, refuse_mixed_ros
from ros_nodes.errors import RosEnvironmentError

HOME = {"HOME": str(Path(__file__).parent)}


def test_a_sourced_ros_beside_the_wheels_is_refused() -> None:
    with pytest.raises(RosEnvironmentError, match=r"PYTHONPATH names /opt/ros/jazzy .*wheels"):
        refuse_mixed_ros({"PYTHONPATH": "/x:/opt/ros/jazzy/lib/python3.12/site-packages"}, wheels=True)


def test_a_sourced_ros_alone_is_fine() -> None:
    refuse_mixed_ros({"AMENT_PREFIX_PATH": "/opt/ros/kilted"}, wheels=False)
    refuse_mixed_ros({"AMENT_PREFIX_PATH": "/home/me/venv"}, wheels=True)


@pytest.mark.parametrize("domain_id", [-1, 102, 1000])
def test_a_domain_outside_of_the_safe_range_is_refused(domain_id: int) -> None:
    with pytest.raises(RosEnvironmentError, match=f"domain id {domain_id} is not between 0 and 101"):
        graph_environment(domain_id, HOME)


def test_the_dds_profile_is_set_and_exists() -> None:
    profiles = [value for name, value in graph_environment(5, HOME).items() if name.endswith("PROFILES_FILE")]
    assert len(profiles) == 1 and Path(profiles[0]).is_file()


def test_a_profile_that_the_user_chose_stays() -> None:
    chosen = {**HOME, "FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml"}
    assert not any(name.endswith("PROFILES_FILE") for name in graph_environment(5, chosen))


def test_jazzy_gets_the_older_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "uses_wheels", lambda: False)
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" in graph_environment(5, {**HOME, "ROS_DISTRO": "jazzy"})
    assert "FASTDDS_DEFAULT_PROFILES_FILE" in graph_environment(5, {**HOME, "ROS_DISTRO": "kilted"})


def test_logs_go_elsewhere_when_home_cannot_be_written(tmp_path: Path) -> None:
    assert "ROS_LOG_DIR" in graph_environment(5, {"HOME": str(tmp_path / "missing")})
    assert "ROS_LOG_DIR" not in graph_environment(5, {"HOME": str(tmp_path)})


def test_a_child_starts_without_the_wheels_bootstrap() -> None:
    parent = {
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
        "LD_LIBRARY_PATH": "/venv/lib:/venv/lib/python3.11/site-packages/ros_rcl.libs:/usr/local/cuda/lib64",
    }
    child = child_environment(parent, {"ROS_DOMAIN_ID": "7"})
    assert child == {"ROS_DOMAIN_ID": "7", "LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}


def test_a_child_of_an_apt_ros_keeps_its_library_path() -> None:
    parent = {"LD_LIBRARY_PATH": "/opt/ros/jazzy/lib"}
    assert child_environment(parent, {}) == parent


@pytest.mark.parametrize("text", ["abc", "1.5", "-3"])
def test_a_domain_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(RosEnvironmentError, match=f"ROS_DOMAIN_ID is '{text}'"):
        environment.prepare_process({**HOME, "ROS_DOMAIN_ID": text})


def _write_segment(folder: Path, name: str) -> list[Path]:
    files = [folder / name, folder / f"{name}_el", folder / f"sem.{name}_mutex"]
    for file in files:
        file.write_bytes(b"")
    return files


def test_shared_memory_of_dead_processes_is_removed(tmp_path: Path) -> None:
    files = _write_segment(tmp_path, "fastdds_0123456789abcdef")
    other = tmp_path / "somebody_elses_el"
    other.write_bytes(b"")
    assert sorted(clean_shared_memory(tmp_path)) == sorted(files)
    assert list(tmp_path.iterdir()) == [other]


def test_shared_memory_in_use_is_left_alone(tmp_path: Path) -> None:
    files = _write_segment(tmp_path, "fastdds_port7413")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl,sys; f=open({str(files[1])!r}); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    assert holder.stdin is not None and holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert clean_shared_memory(tmp_path) == []
    assert all(file.exists() for file in files)
    holder.stdin.close()
    holder.wait()
    assert len(clean_shared_memory(tmp_path)) == 3


def test_a_shared_lock_counts_as_use(tmp_path: Path) -> None:
    files = _write_segment(tmp_path, "fastdds_port7415")
    lock = tmp_path / "fastdds_port7415_sl"
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        assert clean_shared_memory(tmp_path) == []
    assert sorted(clean_shared_memory(tmp_path)) == sorted([*files, lock])
