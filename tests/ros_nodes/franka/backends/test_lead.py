"""At which velocity an arm is led to its set-points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_server.runtime.clock import NS_PER_MS, NS_PER_S
from policy_server.runtime.resources import resource
from ros_nodes.franka.backends.franky_settings import FrankySettings
from ros_nodes.franka.backends.lead import ARM_JOINTS, lead_from, motion_at
from ros_nodes.franka.set_points import JointMotion, SetPoints
from ros_nodes.franka.settings import load_guard_settings
from sim_bridge.fr3 import HOME_RAD

BEGIN_NS = 1_800_000_000 * NS_PER_S
PERIOD_NS = 10 * NS_PER_MS
SETTINGS = FrankySettings("127.0.0.1").lead
GUARD = load_guard_settings(resource("config/arm.yaml"))
LIMITS = GUARD.limits

offsets = st.lists(st.floats(-0.5, 0.5), min_size=ARM_JOINTS, max_size=ARM_JOINTS).map(np.array)


def way(change_rad: np.ndarray, duration_s: float = 1.0) -> SetPoints:
    """From home by ``change_rad``, at rest at both ends."""
    start, change = np.append(HOME_RAD, 0.04), np.append(change_rad, 0.0)
    share = np.linspace(0.0, 1.0, round(duration_s * 100) + 1)
    motions = [
        JointMotion(
            start + (10 * s**3 - 15 * s**4 + 6 * s**5) * change,
            30 * s**2 * (1 - s) ** 2 / duration_s * change,
            np.zeros(8),
        )
        for s in share
    ]
    return SetPoints.of([BEGIN_NS + k * PERIOD_NS for k in range(len(share))], motions, 8, "running")


@settings(max_examples=40)
@given(offsets, st.integers(0, 100))
def test_the_motion_passes_through_every_set_point(change: np.ndarray, row: int) -> None:
    points = way(change)
    position, velocity = motion_at(points, int(points.times_ns[row]))
    np.testing.assert_allclose(position, points.positions[row], atol=1e-12)
    np.testing.assert_allclose(velocity, points.velocities[row], atol=1e-12)


@settings(max_examples=40)
@given(offsets, st.integers(0, NS_PER_S))
def test_between_the_set_points_the_velocity_is_the_positions_slope(change: np.ndarray, at_ns: int) -> None:
    points, step_ns = way(change), 1000
    before, after = (motion_at(points, BEGIN_NS + at_ns + side * step_ns)[0] for side in (-1, 1))
    velocity = motion_at(points, BEGIN_NS + at_ns)[1]
    np.testing.assert_allclose((after - before) / (2e-9 * step_ns), velocity, atol=1e-3)


def test_outside_of_the_set_points_the_arm_rests_at_their_ends() -> None:
    points = way(np.full(7, 0.2))
    for time_ns, row in ((BEGIN_NS - NS_PER_S, 0), (BEGIN_NS + 5 * NS_PER_S, -1)):
        position, velocity = motion_at(points, time_ns)
        np.testing.assert_array_equal(position, points.positions[row])
        assert not velocity.any()


def test_an_arm_on_its_set_points_gets_their_velocity_ahead() -> None:
    points, now_ns = way(np.full(7, 0.2)), BEGIN_NS + NS_PER_S // 2
    due = motion_at(points, now_ns)[0][:7]
    lead = lead_from(points, now_ns, due, LIMITS, SETTINGS)
    ahead = motion_at(points, now_ns + SETTINGS.lookahead_ns)[1][:7]
    np.testing.assert_allclose(lead.velocity_rad_s, ahead, atol=1e-12)


@settings(max_examples=40)
@given(offsets, offsets, st.integers(-NS_PER_S, 3 * NS_PER_S))
def test_no_lead_is_faster_than_the_robot_allows_there(change: np.ndarray, error: np.ndarray, at_ns: int) -> None:
    commanded = np.clip(HOME_RAD + error, LIMITS.position_min[:7], LIMITS.position_max[:7])
    lead = lead_from(way(change, 0.3), BEGIN_NS + at_ns, commanded, LIMITS, SETTINGS)
    padded = np.append(commanded, 0.0)
    assert (lead.velocity_rad_s <= SETTINGS.velocity_share * LIMITS.envelope.towards_upper(padded)[:7] + 1e-9).all()
    assert (-lead.velocity_rad_s <= SETTINGS.velocity_share * LIMITS.envelope.towards_lower(padded)[:7] + 1e-9).all()
    assert (np.abs(lead.velocity_rad_s) <= LIMITS.velocity[:7]).all()


@settings(max_examples=40)
@given(offsets)
def test_an_arm_that_lags_comes_back_along_a_straight_line(error: np.ndarray) -> None:
    commanded = np.clip(HOME_RAD + error, LIMITS.position_min[:7] + 0.05, LIMITS.position_max[:7] - 0.05)
    lead = lead_from(way(np.zeros(7)), BEGIN_NS + 2 * NS_PER_S, commanded, LIMITS, SETTINGS)
    home = HOME_RAD - commanded
    assert np.abs(np.outer(lead.velocity_rad_s, home) - np.outer(home, lead.velocity_rad_s)).max() < 1e-9
    assert lead.velocity_rad_s @ home >= 0.0
    assert (np.abs(lead.velocity_rad_s) <= np.abs(home) / SETTINGS.correction_s + 1e-9).all()


@pytest.mark.parametrize("pace", [1.0, 0.3])
def test_an_arm_that_obeys_arrives_where_the_set_points_end(pace: float) -> None:
    """Also a robot whose time goes slower than ours, as on a busy machine."""
    points, commanded = way(np.full(7, 0.3)), HOME_RAD.copy()
    for tick in range(400):
        lead = lead_from(points, BEGIN_NS + tick * 20 * NS_PER_MS, commanded, LIMITS, SETTINGS)
        commanded = commanded + pace * 0.02 * lead.velocity_rad_s
    np.testing.assert_allclose(commanded, points.positions[-1, :7], atol=1e-4)


def test_franky_can_stop_where_the_guard_has_it_stop() -> None:
    settings = FrankySettings("127.0.0.1")
    assert settings.acceleration_share >= GUARD.acceleration_scale
    assert settings.jerk_share >= GUARD.jerk_scale
    assert settings.lead.velocity_share >= GUARD.velocity_scale
    assert settings.lead_period_ns < settings.lead.lookahead_ns
