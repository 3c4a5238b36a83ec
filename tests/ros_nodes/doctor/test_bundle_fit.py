"""A bundle against the robot that is to run it."""

from dataclasses import replace
from pathlib import Path

import pytest

from policy_server.runtime.bundle import Bundle, load_bundle
from policy_server.runtime.clock import NS_PER_MS
from policy_server.runtime.resources import resource
from ros_nodes.camera.settings import CameraSettings
from ros_nodes.doctor.bundle_fit import check_bundle
from ros_nodes.doctor.finding import Finding, Level
from ros_nodes.franka.settings import GuardSettings, load_guard_settings
from tests.synthetic_bundle import write_synthetic_bundle

FRONT = CameraSettings("front", "device", "/dev/video0", 96, 96, 30.0)


@pytest.fixture
def guard() -> GuardSettings:
    return load_guard_settings(resource("config/arm.yaml"), "fr3")


def bundle(folder: Path, **settings: object) -> Bundle:
    return load_bundle(write_synthetic_bundle(folder / "bundle", **settings))  # type: ignore[arg-type]


def found(fitted: Bundle, cameras: tuple[CameraSettings, ...], guard: GuardSettings) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_bundle(fitted, cameras, guard)}


def test_a_bundle_on_its_own_robot_passes(tmp_path: Path, guard: GuardSettings) -> None:
    assert {finding.level for finding in found(bundle(tmp_path), (FRONT,), guard).values()} == {Level.OK}


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (replace(FRONT, name="top"), "configured are top"),
        (replace(FRONT, width=640, height=480), "trained on 96 x 96"),
        (replace(FRONT, rate_hz=5.0), "ticks at 10 Hz"),
    ],
    ids=["name", "size", "rate"],
)
def test_a_camera_that_does_not_fit_fails(
    tmp_path: Path, guard: GuardSettings, camera: CameraSettings, message: str
) -> None:
    finding = found(bundle(tmp_path), (camera,), guard)["bundle's camera 'front'"]
    assert finding.level == Level.FAIL and message in finding.mend


def test_an_fr3_bundle_on_an_fer_fails(tmp_path: Path) -> None:
    fer = load_guard_settings(resource("config/arm.yaml"), "fer")
    assert found(bundle(tmp_path), (FRONT,), fer)["bundle's joints"].level == Level.FAIL


def test_a_watchdog_shorter_than_a_tick_fails(tmp_path: Path, guard: GuardSettings) -> None:
    hasty = replace(guard, watchdog_ns=100 * NS_PER_MS)
    assert found(bundle(tmp_path), (FRONT,), hasty)["bundle's rate"].level == Level.FAIL


def test_chunks_shorter_than_the_time_between_them_warn(tmp_path: Path, guard: GuardSettings) -> None:
    short = bundle(tmp_path, future_steps=4, replan_every_ticks=5)
    assert found(short, (FRONT,), guard)["bundle's rate"].level == Level.WARN


def test_features_that_no_topic_carries_fail(tmp_path: Path, guard: GuardSettings) -> None:
    assert found(bundle(tmp_path, features=("goal_x",)), (FRONT,), guard)["bundle"].level == Level.FAIL
