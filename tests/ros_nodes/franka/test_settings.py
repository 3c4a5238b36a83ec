"""The arm's YAML file: the tables of both robots, and one clear line for each mistake."""

import re
from pathlib import Path

import numpy as np
import pytest

from policy_server.runtime.errors import ConfigurationError
from ros_nodes.franka.settings import load_guard_settings

ARM_YAML = Path(__file__).parents[3] / "config" / "arm.yaml"


def edited(folder: Path, old: str, new: str) -> Path:
    text = ARM_YAML.read_text(encoding="utf-8")
    assert old in text
    path = folder / "arm.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_fr3_is_read_with_its_finger_as_the_last_joint() -> None:
    settings = load_guard_settings(ARM_YAML)
    assert settings.robot == "fr3"
    assert settings.limits.joints == (*(f"fr3_joint{k}" for k in range(1, 8)), "fr3_finger_joint1")
    assert settings.limits.position_max[3] == -0.1518 and settings.limits.position_max[7] == 0.04
    assert settings.limits.velocity.dtype == np.float64 and settings.limits.velocity.shape == (8,)
    assert settings.set_point_period_ns == 10_000_000 and settings.watchdog_ns == 300_000_000


@pytest.mark.parametrize("robot", ["fr3", "fer"])
def test_the_ready_pose_is_inside_the_limits_and_all_zero_is_not(robot: str) -> None:
    limits = load_guard_settings(ARM_YAML, robot).limits
    ready = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4, 0.02])
    assert (limits.position_min < ready).all() and (ready < limits.position_max).all()
    assert limits.position_max[3] < 0.0


def test_the_fr3_may_move_more_slowly_near_an_end() -> None:
    limits = load_guard_settings(ARM_YAML).limits
    middle, end = np.zeros(8), limits.position_max
    assert (limits.envelope.towards_upper(end)[:7] < 0.1).all()
    assert (limits.envelope.towards_lower(end)[:7] > 1.0).all()
    assert (limits.envelope.towards_upper(middle)[[0, 2]] > 2.62).all()
    assert np.isinf(limits.envelope.towards_upper(end)[7])


def test_the_fer_has_no_velocity_envelope() -> None:
    limits = load_guard_settings(ARM_YAML, "fer").limits
    assert np.isinf(limits.envelope.towards_upper(limits.position_max)).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("watchdog_s:", "watchdog_ms:", "unknown key 'watchdog_ms'; did you mean 'watchdog_s'?"),
        ("    position_min:", "    positon_min:", "unknown key 'positon_min'; did you mean 'position_min'?"),
        ("robot: fr3 ", "robot: fr4 ", "unknown robot 'fr4'; did you mean 'fr3'?"),
        ("watchdog_s: 0.3", "watchdog_s: soon", "'watchdog_s'"),
        ("watchdog_s: 0.3", "watchdog_s: -0.3", "'watchdog_s' is -0.3"),
        ("velocity_scale: 0.8", "velocity_scale: 1.2", "'velocity_scale' is 1.2"),
        ("set_point_period_s: 0.01", "set_point_period_s: 0.0", "'set_point_period_s' is 0.0"),
        ("velocity: [2.62, ", "velocity: [", "'velocity' has 6 values: give one per joint, 7"),
        ("slope: [12.0, ", "slope: [", "'slope' has 6 values"),
        ("position_min: [-2.7437", "position_min: [3.0", "fr3_joint1: position_min 3.0 must be below"),
        ("velocity: [2.62", "velocity: [.nan", "fr3_joint1: velocity nan must be a number of 0 or more"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as error:
        load_guard_settings(edited(tmp_path, old, new))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no file 'nowhere\.yaml'"):
        load_guard_settings("nowhere.yaml")
