"""The guard: follows feasible targets, refuses bad chunks, stops when none come, and never leaves the limits."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from ros_nodes.franka.blending import Rule
from ros_nodes.franka.chunk_checks import REASONS
from ros_nodes.franka.guard import ChunkRefused, Guard, LatchError, SetPoints
from ros_nodes.franka.judge import read_judged_limits, violations
from ros_nodes.franka.keep_out import Workspace
from ros_nodes.franka.settings import GuardSettings, load_guard_settings

ARM_YAML = Path(__file__).parents[3] / "config" / "arm.yaml"
SETTINGS = load_guard_settings(ARM_YAML)
JOINTS = SETTINGS.limits.joints
MS = 1_000_000
TICK_NS = 100 * MS
READY = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4, 0.02])
JUDGED = read_judged_limits(ARM_YAML, "fr3")
FREE = replace(
    SETTINGS,
    max_step=np.full(8, 10.0),
    workspace=Workspace(
        (-9.0, -9.0, -9.0), (9.0, 9.0, 9.0), table_height_m=-9.0, table_clearance_m=0.0, self_clearance_m=-9.0
    ),
)
"""Nothing but the joints' own limits."""


def chunk_of(stamp_ns: int, positions: NDArray[np.floating], joints: tuple[str, ...] = JOINTS) -> ActionChunk:
    return ActionChunk(stamp_ns, TICK_NS, joints, np.asarray(positions, np.float32))


def still(stamp_ns: int, steps: int = 8, position: NDArray[np.float64] = READY) -> ActionChunk:
    return chunk_of(stamp_ns, np.tile(position, (steps, 1)))


def latched(settings: GuardSettings = SETTINGS) -> Guard:
    guard = Guard(settings)
    guard.latch(READY, 0)
    return guard


def moved(joint: int, distance: float) -> NDArray[np.float64]:
    target = READY.copy()
    target[joint] += distance
    return target


def joined(parts: list[SetPoints]) -> NDArray[np.float64]:
    return np.concatenate([READY[None], *(part.positions for part in parts)])


def assert_within_limits(positions: NDArray[np.float64]) -> None:
    assert violations(positions, 0.01, JUDGED) == []


# --- latching ---------------------------------------------------------------------------------------------------------


def test_an_unlatched_guard_gives_no_set_points_and_refuses_chunks() -> None:
    guard = Guard(SETTINGS)
    assert guard.state == "unlatched"
    assert len(guard.advance(TICK_NS)) == 0 and len(guard.braking_tail()) == 0
    with pytest.raises(ChunkRefused, match="not latched") as refusal:
        guard.accept(still(0), 0)
    assert refusal.value.reason == "not_latched"


def test_a_latched_guard_holds_the_measured_position_on_a_fixed_grid() -> None:
    guard = Guard(SETTINGS)
    guard.latch(READY, 1_234_567)
    points = guard.advance(TICK_NS)
    assert points.times_ns.tolist() == [k * 10 * MS for k in range(1, 11)]
    assert (points.positions == READY).all() and points.state == "holding"


def test_all_zero_joints_cannot_be_latched() -> None:
    with pytest.raises(LatchError, match=r"fr3_joint4 is at 0\.0000"):
        Guard(SETTINGS).latch(np.zeros(8), 0)


@pytest.mark.parametrize("positions", [READY[:7], np.full(8, np.nan)])
def test_a_latch_with_missing_or_nan_joints_is_refused_by_name(positions: NDArray[np.float64]) -> None:
    with pytest.raises(LatchError, match="fr3_joint1"):
        Guard(SETTINGS).latch(positions, 0)


def test_a_finger_measured_slightly_beyond_its_range_is_latched_inside() -> None:
    guard = Guard(SETTINGS)
    guard.latch(moved(7, 0.0205), 0)
    assert guard.positions[7] == 0.04


def test_unlatch_forgets_chunk_and_position() -> None:
    guard = latched()
    guard.accept(still(0), 0)
    guard.unlatch()
    assert guard.state == "unlatched" and len(guard.advance(TICK_NS)) == 0
    guard.latch(READY, 5 * TICK_NS)
    assert guard.advance(6 * TICK_NS).state == "holding"


# --- following --------------------------------------------------------------------------------------------------------


def follow(path: list[NDArray[np.float64]], steps: int) -> NDArray[np.float64]:
    """The set-point at each tick's end when ``path[k]`` is commanded for the end of tick k."""
    guard, parts, ends = latched(), [], []
    for tick in range(len(path)):
        ahead = [path[min(tick + step, len(path) - 1)] for step in range(steps)]
        guard.accept(chunk_of(tick * TICK_NS, np.array(ahead)), tick * TICK_NS)
        parts.append(guard.advance((tick + 1) * TICK_NS))
        ends.append(parts[-1].positions[-1])
        assert parts[-1].times_ns[-1] == (tick + 1) * TICK_NS
    assert_within_limits(joined(parts))
    return np.array(ends)


@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("joint", range(7))
def test_an_expert_at_up_to_one_rad_per_s_is_followed_within_5_mrad(joint: int, steps: int) -> None:
    times_s = np.arange(1, 21) * 0.1
    path = [moved(joint, 0.3 * np.sin(3.0 * t) * min(t, 1.0)) for t in times_s]
    speeds = np.abs(np.diff([target[joint] for target in path])) / 0.1
    assert 0.7 < speeds.max() <= 1.0
    ends = follow(path, steps)
    assert np.abs(ends - np.array(path)).max() < 0.005


def test_a_steadily_moving_target_is_followed_without_lag() -> None:
    ends = follow([moved(0, 0.05 * k) for k in range(1, 21)], steps=1)
    assert np.abs(ends[5:, 0] - 0.05 * np.arange(6, 21)).max() < 1e-6


def test_a_step_is_reached_and_held() -> None:
    guard, target = latched(), moved(0, 0.5)
    for tick in range(20):
        guard.accept(still(tick * TICK_NS, position=target), tick * TICK_NS)
        points = guard.advance((tick + 1) * TICK_NS)
    assert np.abs(points.positions - target).max() < 1e-6 and points.state == "running"


def test_the_gripper_opens_at_its_own_speed() -> None:
    guard = latched()
    guard.accept(still(0, position=moved(7, 0.02)), 0)
    finger = guard.advance(3 * TICK_NS).positions[:, 7]
    assert np.abs(np.diff(finger)).max() / 0.01 == pytest.approx(0.1 * SETTINGS.velocity_scale, rel=1e-2)


def test_past_steps_of_a_late_chunk_are_dropped_by_time() -> None:
    steps = np.array([moved(0, 0.05 * k) for k in range(1, 9)])
    late = latched()
    late.advance(2 * TICK_NS)
    late.accept(chunk_of(0, steps), 2 * TICK_NS)
    assert late.advance(5 * TICK_NS).positions[-1, 0] == pytest.approx(steps[4, 0], abs=0.001)


def test_the_rest_of_the_same_plan_changes_nothing() -> None:
    plan = chunk_of(0, np.array([moved(0, 0.04 * np.sin(k)) for k in range(1, 9)]))
    once, again = latched(), latched()
    once.accept(plan, 0)
    again.accept(plan, 0)
    parts = []
    for tick in range(3):
        parts.append(again.advance((tick + 1) * TICK_NS).positions)
        again.accept(plan.remaining((tick + 1) * TICK_NS), (tick + 1) * TICK_NS)
    np.testing.assert_allclose(np.concatenate(parts), once.advance(3 * TICK_NS).positions, atol=1e-6)


def test_joints_in_another_order_are_reordered() -> None:
    target, order = moved(0, 0.2), [3, 0, 7, 1, 2, 6, 5, 4]
    straight, shuffled = latched(), latched()
    straight.accept(still(0, position=target), 0)
    shuffled.accept(chunk_of(0, np.tile(target[order], (8, 1)), tuple(JOINTS[k] for k in order)), 0)
    assert straight.advance(TICK_NS).positions.tobytes() == shuffled.advance(TICK_NS).positions.tobytes()


def test_a_target_slightly_outside_of_the_limits_is_clamped_inside() -> None:
    guard = latched()
    low, margin = SETTINGS.limits.position_min[3], SETTINGS.position_margin[3]
    target = READY.copy()
    target[3] = low - 0.05
    for tick in range(20):
        guard.accept(still(tick * TICK_NS, position=target), tick * TICK_NS)
        points = guard.advance((tick + 1) * TICK_NS)
    assert points.positions[-1, 3] == pytest.approx(low + margin, abs=1e-6)
    assert guard.counters["clamped"] == 20


# --- refusing ---------------------------------------------------------------------------------------------------------

NAN_STEP = np.tile(READY, (8, 1))
NAN_STEP[2, 3] = np.nan
BAD_CHUNKS = {
    "not_finite": (chunk_of(0, NAN_STEP), r"chunk step 2 sets fr3_joint4 to nan"),
    "wrong_joints": (chunk_of(0, np.tile(READY[:7], (8, 1)), JOINTS[:7]), "fr3_finger_joint1"),
    "out_of_limits": (still(0, position=moved(1, 3.0)), "fr3_joint2"),
    "too_old": (still(-600 * MS, steps=20), "0.600 s ago"),
    "in_the_future": (still(50 * MS), "0.050 s ahead"),
    "no_steps_left": (still(-300 * MS, steps=3), "all 3 steps"),
    "wrong_period": (replace(still(0), period_ns=0), "period 0 ns"),
}


@pytest.mark.parametrize("reason", BAD_CHUNKS)
def test_a_bad_chunk_is_refused_counted_and_leaves_the_guard_as_it_was(reason: str) -> None:
    chunk, message = BAD_CHUNKS[reason]
    guard = latched()
    with pytest.raises(ChunkRefused, match=message) as refusal:
        guard.accept(chunk, 0)
    assert refusal.value.reason == reason
    assert guard.counters[reason] == 1 and guard.counters["accepted"] == 0
    assert (guard.advance(TICK_NS).positions == READY).all() and guard.state == "holding"


def test_two_columns_of_one_joint_are_refused() -> None:
    with pytest.raises(ChunkRefused) as refusal:
        latched().accept(chunk_of(0, np.tile(READY, (8, 1)), (*JOINTS[:7], JOINTS[0])), 0)
    assert refusal.value.reason == "wrong_joints"


def test_a_chunk_with_another_number_of_columns_than_names_is_refused() -> None:
    with pytest.raises(ChunkRefused, match=r"shape \(8, 7\)") as refusal:
        latched().accept(chunk_of(0, np.tile(READY[:7], (8, 1))), 0)
    assert refusal.value.reason == "wrong_joints"


def test_a_chunk_older_than_the_newest_one_is_refused_and_a_repeated_one_is_not() -> None:
    guard = latched()
    guard.accept(still(TICK_NS), TICK_NS)
    guard.accept(still(TICK_NS), TICK_NS)
    with pytest.raises(ChunkRefused) as refusal:
        guard.accept(still(0), TICK_NS)
    assert refusal.value.reason == "out_of_order"


def test_refused_chunks_do_not_feed_the_watchdog() -> None:
    guard = latched()
    guard.accept(still(0, steps=20), 0)
    for tick in range(1, 6):
        with pytest.raises(ChunkRefused):
            guard.accept(chunk_of(tick * TICK_NS, NAN_STEP), tick * TICK_NS)
        guard.advance(tick * TICK_NS)
    assert guard.state == "holding" and guard.counters["watchdog_stops"] == 1


# --- stopping ---------------------------------------------------------------------------------------------------------


def running_at_speed() -> tuple[Guard, list[SetPoints]]:
    """A guard whose joint 1 moves at 0.8 rad/s at 0.5 s, with steps left until 1.3 s."""
    guard, parts = latched(), []
    for tick in range(5):
        steps = np.array([moved(0, 0.08 * (tick + step)) for step in range(1, 10)])
        guard.accept(chunk_of(tick * TICK_NS, steps), tick * TICK_NS)
        parts.append(guard.advance((tick + 1) * TICK_NS))
    return guard, parts


def test_without_new_chunks_the_watchdog_brings_the_arm_to_rest_smoothly_and_holds() -> None:
    guard, parts = running_at_speed()
    assert parts[-1].velocities[-1, 0] == pytest.approx(0.8, abs=1e-6)
    last_accepted_ns = 4 * TICK_NS
    parts.append(guard.advance(last_accepted_ns + SETTINGS.watchdog_ns))
    assert guard.state == "running"
    parts.append(guard.advance(2000 * MS))
    assert guard.state == "holding" and "watchdog" in guard.reason and guard.counters["watchdog_stops"] == 1
    assert_within_limits(joined(parts))
    tail = parts[-1].positions
    assert (tail[-100:] == tail[-1]).all() and not parts[-1].velocities[-1].any()
    assert (guard.advance(9000 * MS).positions == tail[-1]).all()


def test_at_the_end_of_the_chunk_the_arm_comes_to_rest() -> None:
    guard = latched()
    guard.accept(chunk_of(0, np.array([moved(0, 0.05), moved(0, 0.1)])), 0)
    assert guard.advance(2 * TICK_NS).state == "running"
    points = guard.advance(6 * TICK_NS)
    assert points.state == "holding" and guard.counters["chunks_ended"] == 1
    assert points.positions[-1, 0] > 0.1 and points.velocities[-1, 0] == 0.0


def test_a_valid_chunk_resumes_from_where_the_arm_came_to_rest() -> None:
    guard, parts = running_at_speed()
    parts.append(guard.advance(2000 * MS))
    stopped = guard.positions
    guard.accept(still(2000 * MS, position=moved(0, 0.9)), 2000 * MS)
    parts.append(guard.advance(2010 * MS))
    assert guard.state == "running" and np.abs(parts[-1].positions[0] - stopped).max() < 0.001
    parts.append(guard.advance(2300 * MS))
    assert_within_limits(joined(parts))


def test_a_chunk_that_arrives_while_stopping_resumes_smoothly() -> None:
    guard, parts = running_at_speed()
    parts.append(guard.advance(750 * MS))
    assert guard.state == "stopping"
    guard.accept(still(750 * MS, position=moved(0, 0.0)), 750 * MS)
    parts.append(guard.advance(1000 * MS))
    assert guard.state == "running"
    assert_within_limits(joined(parts))


def test_the_braking_tail_is_what_a_stop_would_emit_and_changes_nothing() -> None:
    guard, parts = running_at_speed()
    tail = guard.braking_tail()
    assert guard.braking_tail().positions.tobytes() == tail.positions.tobytes()
    assert_within_limits(np.concatenate([joined(parts), tail.positions]))
    assert tail.times_ns[0] == parts[-1].times_ns[-1] + 10 * MS
    assert not tail.velocities[-1].any() and not tail.accelerations[-1].any()
    assert 0.0 < tail.positions[-1, 0] - parts[-1].positions[-1, 0] < 0.1


def test_the_braking_tail_of_a_resting_arm_is_one_set_point() -> None:
    tail = latched().braking_tail()
    assert len(tail) == 1 and (tail.positions == READY).all()


def test_a_late_call_fills_the_gap_without_a_jump() -> None:
    prompt, parts = running_at_speed()
    late, _ = running_at_speed()
    for tick in range(5, 25):
        parts.append(prompt.advance((tick + 1) * TICK_NS))
    gap = late.advance(2500 * MS)
    assert gap.positions.tobytes() == np.concatenate([part.positions for part in parts[5:]]).tobytes()


def test_a_chunk_accepted_after_a_gap_does_not_rewrite_the_gap() -> None:
    prompt, _ = running_at_speed()
    late, _ = running_at_speed()
    first = prompt.advance(2000 * MS)
    fresh = still(2000 * MS, position=moved(0, 0.2))
    prompt.accept(fresh, 2000 * MS)
    second = prompt.advance(2500 * MS)
    late.accept(fresh, 2000 * MS)
    both = late.advance(2500 * MS)
    assert both.positions.tobytes() == np.concatenate([first.positions, second.positions]).tobytes()


# --- whose chunk, and how far it jumps --------------------------------------------------------------------------------


def test_after_the_first_chunk_those_of_another_bundle_are_refused_until_the_next_latch() -> None:
    guard = latched()
    guard.accept(still(0), 0, "aaaa")
    with pytest.raises(ChunkRefused, match="bundle bbbb, the arm follows aaaa") as refusal:
        guard.accept(still(TICK_NS), TICK_NS, "bbbb")
    assert refusal.value.reason == "other_bundle" and guard.counters["other_bundle"] == 1
    guard.latch(READY, TICK_NS)
    guard.accept(still(TICK_NS), TICK_NS, "bbbb")


def test_an_announced_bundle_follows_once_and_the_old_one_does_not_come_back() -> None:
    guard = latched()
    guard.accept(still(0), 0, "aaaa")
    guard.announce_bundle("bbbb")
    guard.accept(still(TICK_NS), TICK_NS, "aaaa")  # until it is there the old one leads
    for stranger in ("cccc", ""):
        with pytest.raises(ChunkRefused, match="the arm follows aaaa"):
            guard.accept(still(TICK_NS), TICK_NS, stranger)
    guard.accept(still(2 * TICK_NS), 2 * TICK_NS, "bbbb")
    assert guard.bundle_hash == "bbbb"
    with pytest.raises(ChunkRefused, match="bundle aaaa, the arm follows bbbb"):
        guard.accept(still(3 * TICK_NS), 3 * TICK_NS, "aaaa")
    guard.accept(still(3 * TICK_NS), 3 * TICK_NS, "bbbb")
    assert guard.counters["other_bundle"] == 3 and guard.state == "running"


def test_an_announcement_outlives_a_refused_chunk_and_can_be_taken_back() -> None:
    guard = latched()
    guard.accept(still(0), 0, "aaaa")
    guard.announce_bundle("bbbb")
    far = chunk_of(TICK_NS, np.tile(moved(0, SETTINGS.max_step[0] + 0.1), (8, 1)))
    with pytest.raises(ChunkRefused, match="fr3_joint1"):
        guard.accept(far, TICK_NS, "bbbb")
    guard.accept(still(TICK_NS), TICK_NS, "aaaa")
    guard.announce_bundle("")
    with pytest.raises(ChunkRefused, match="bundle bbbb, the arm follows aaaa"):
        guard.accept(still(2 * TICK_NS), 2 * TICK_NS, "bbbb")


@pytest.mark.parametrize("jumps_at", [0, 3])
def test_a_step_that_jumps_too_far_is_refused_from_the_arm_or_from_the_step_before(jumps_at: int) -> None:
    steps = np.tile(READY, (8, 1))
    steps[jumps_at:, 0] += SETTINGS.max_step[0] + 0.01
    with pytest.raises(ChunkRefused, match=r"fr3_joint1 1\.010") as refusal:
        latched().accept(chunk_of(0, steps), 0)
    assert refusal.value.reason == "step_jump"
    steps[jumps_at:, 0] -= 0.02
    latched().accept(chunk_of(0, steps), 0)


def test_a_jump_is_measured_from_where_the_arm_is_by_then() -> None:
    guard = latched()
    for tick in range(15):
        guard.accept(still(tick * TICK_NS, position=moved(0, 0.9)), tick * TICK_NS)
        guard.advance((tick + 1) * TICK_NS)
    guard.accept(still(15 * TICK_NS, position=moved(0, 1.8)), 15 * TICK_NS)


def test_steps_that_have_passed_may_jump() -> None:
    guard = latched()
    guard.advance(3 * TICK_NS)
    steps = np.tile(READY, (8, 1))
    steps[:2, 0] += 2.5
    guard.accept(chunk_of(0, steps), 3 * TICK_NS)


# --- zero is a limit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["velocity", "acceleration", "jerk"])
@pytest.mark.parametrize("joint", [0, 3, 6, 7])
def test_a_joint_with_a_limit_of_zero_stays_and_the_others_go_on(what: str, joint: int) -> None:
    allowed = getattr(FREE.limits, what).copy()
    allowed[joint] = 0.0
    guard = latched(replace(FREE, limits=replace(FREE.limits, **{what: allowed})))
    target = READY + 0.01
    for tick in range(5):
        guard.accept(still(tick * TICK_NS, position=target), tick * TICK_NS)
        points = guard.advance((tick + 1) * TICK_NS)
        assert (points.positions[:, joint] == READY[joint]).all() and not points.velocities[:, joint].any()
    others = np.delete(np.arange(8), joint)
    np.testing.assert_allclose(points.positions[-1, others], target[others], atol=1e-4)


@pytest.mark.parametrize(
    "nothing", ["velocity_scale", "acceleration_scale", "jerk_scale", "rest_within_ns", "watchdog_ns"]
)
def test_an_arm_with_a_share_or_a_time_of_zero_does_not_move(nothing: str) -> None:
    guard = latched(replace(FREE, **{nothing: 0}))
    for tick in range(3):
        guard.accept(still(tick * TICK_NS, position=moved(0, 0.3)), tick * TICK_NS)
        points = guard.advance((tick + 1) * TICK_NS)
        assert (points.positions == READY).all()
    assert guard.counters["accepted"] == 3


def test_a_step_limit_of_zero_lets_the_arm_stand_still_and_nothing_else() -> None:
    guard = latched(replace(FREE, max_step=np.zeros(8)))
    guard.accept(still(0), 0)
    with pytest.raises(ChunkRefused, match=r"at most 0\.0"):
        guard.accept(still(0, position=moved(0, 1e-4)), 0)


def test_a_chunk_age_of_zero_lets_only_answers_to_this_moment_through() -> None:
    guard = latched(replace(FREE, max_chunk_age_ns=0))
    guard.accept(still(0), 0)
    with pytest.raises(ChunkRefused) as refusal:
        guard.accept(still(0), 1)
    assert refusal.value.reason == "too_old"


# --- halting, latency, rates, blending --------------------------------------------------------------------------------


def test_a_halt_brakes_from_the_next_set_point_on_and_drops_what_waits() -> None:
    guard, parts = running_at_speed()
    guard.accept(still(500 * MS, position=moved(0, 0.4)), 500 * MS)
    guard.halt("paused by the operator")
    parts.append(guard.advance(900 * MS))
    assert guard.state == "holding" and guard.reason == "paused by the operator" and guard.counters["halts"] == 1
    assert_within_limits(joined(parts))
    rest = parts[-1].positions
    assert 0.0 < rest[-1, 0] - rest[0, 0] < 0.1 and not parts[-1].velocities[-1].any()


def test_a_known_latency_of_the_arm_brings_the_targets_forward_by_as_much() -> None:
    path = [moved(0, 0.05 * k) for k in range(1, 30)]
    prompt, early = latched(), latched(replace(SETTINGS, arm_latency_ns=60 * MS))
    for tick in range(15):
        for guard in (prompt, early):
            guard.accept(chunk_of(tick * TICK_NS, np.array(path[tick : tick + 8])), tick * TICK_NS)
            guard.advance((tick + 1) * TICK_NS)
    lead = early.positions[0] - prompt.positions[0]
    assert lead == pytest.approx(0.5 * 0.06, abs=1e-6)  # 0.5 rad/s for 60 ms


@pytest.mark.parametrize("period_ms", [1, 2, 5])
def test_at_up_to_1000_hz_the_motion_keeps_the_limits_and_its_tail_stays_short(period_ms: int) -> None:
    guard, parts = latched(replace(SETTINGS, set_point_period_ns=period_ms * MS)), []
    for tick in range(6):
        steps = READY + 0.06 * np.sin(tick + np.arange(8))[:, None] * np.array([1, 1, 1, 1, 1, 1, 1, 0.1])
        guard.accept(chunk_of(tick * TICK_NS, steps), tick * TICK_NS)
        parts.append(guard.advance((tick + 1) * TICK_NS))
    tail = guard.braking_tail()
    assert (np.diff(np.concatenate([part.times_ns for part in parts])) == period_ms * MS).all()
    assert violations(joined(parts), period_ms * 1e-3, JUDGED) == []
    assert (np.diff(tail.times_ns) == 10 * MS).all() and len(tail) <= 30 and not tail.velocities[-1].any()


@pytest.mark.parametrize("rule", list(Rule))
def test_under_every_rule_of_blending_a_steady_plan_is_followed(rule: Rule) -> None:
    guard, parts = latched(replace(SETTINGS, blending=replace(SETTINGS.blending, rule=rule))), []
    path = [moved(0, 0.05 * k) for k in range(1, 40)]
    for tick in range(20):
        guard.accept(chunk_of(tick * TICK_NS, np.array(path[tick : tick + 8])), tick * TICK_NS)
        parts.append(guard.advance((tick + 1) * TICK_NS))
    assert guard.positions[0] == pytest.approx(1.0, abs=1e-4)
    assert_within_limits(joined(parts))


def blending_by(rule: Rule) -> GuardSettings:
    return replace(SETTINGS, blending=replace(SETTINGS.blending, rule=rule))


def test_an_ensemble_of_chunks_that_contradict_each_other_moves_less_than_the_latest_alone() -> None:
    def travelled(rule: Rule) -> float:
        guard, parts = latched(blending_by(rule)), []
        for tick in range(20):
            target = moved(0, 0.05 if tick % 2 else -0.05)
            guard.accept(still(tick * TICK_NS, position=target), tick * TICK_NS)
            parts.append(guard.advance((tick + 1) * TICK_NS))
        return float(np.abs(np.diff(joined(parts)[5:, 0])).sum())

    assert travelled(Rule.TEMPORAL_ENSEMBLE) < 0.6 * travelled(Rule.LATEST)


def test_a_hand_over_keeps_to_the_standing_plan_for_its_frozen_time_and_then_leaves_it() -> None:
    kept, changed = latched(blending_by(Rule.HAND_OVER)), latched(blending_by(Rule.HAND_OVER))
    plan = chunk_of(0, np.array([moved(0, 0.05 * k) for k in range(1, 9)]))
    motions = []
    for guard in (kept, changed):
        guard.accept(plan, 0)
        guard.advance(TICK_NS)
        if guard is changed:
            guard.accept(still(TICK_NS, position=moved(0, -0.2)), TICK_NS)
        motions.append(guard.advance(TICK_NS + 500 * MS).positions[:, 0])
    frozen = SETTINGS.blending.frozen_ns // (10 * MS)
    np.testing.assert_allclose(motions[0][:frozen], motions[1][:frozen], atol=1e-6)
    assert motions[0][-1] - motions[1][-1] > 0.1


# --- invariants -------------------------------------------------------------------------------------------------------


@st.composite
def targets(draw: st.DrawFn, steps: int) -> NDArray[np.float64]:
    """Steps anywhere in the position range and a little outside of it, now and then NaN or far outside."""
    limits = SETTINGS.limits
    seed = draw(st.integers(0, 2**32 - 1))
    reach = draw(st.sampled_from([0.01, 0.1, 1.0]))
    random = np.random.default_rng(seed)
    centre = limits.position_min + (limits.position_max - limits.position_min) * random.uniform(0, 1, 8)
    spread = reach * (limits.position_max - limits.position_min)
    low, high = limits.position_min - SETTINGS.position_tolerance, limits.position_max + SETTINGS.position_tolerance
    positions = np.clip(centre + spread * random.normal(0, 1, (steps, 8)), low, high)
    spoiled = draw(st.sampled_from([None] * 8 + [np.nan, np.inf, 100.0]))
    if spoiled is not None:
        positions[random.integers(steps), random.integers(8)] = spoiled
    return positions


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, int, ActionChunk]:
    """(gap before the call in ns, lead of the set-points over now in ns, chunk stamped relative to now)."""
    gap_ns = draw(st.one_of(st.integers(0, 120), st.integers(0, 2000))) * MS + draw(st.integers(0, MS - 1))
    lead_ns = draw(st.sampled_from([0, 30, 100])) * MS
    stamp_ns = draw(st.sampled_from([0, -10, -60, -200, -450, -700, 10, 300])) * MS
    period_ns = draw(st.sampled_from([100, 100, 50, 7, 1])) * MS
    positions = draw(targets(draw(st.integers(1, 10))))
    return gap_ns, lead_ns, ActionChunk(stamp_ns, period_ns, JOINTS, positions.astype(np.float32))


def play(guard: Guard, events: list[tuple[int, int, ActionChunk]]) -> list[SetPoints]:
    now_ns, parts = 0, []
    for gap_ns, lead_ns, chunk in events:
        now_ns += gap_ns
        with suppress(ChunkRefused):
            guard.accept(replace(chunk, stamp_ns=now_ns + chunk.stamp_ns), now_ns)
        parts.append(guard.advance(now_ns + lead_ns))
    return parts


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(arrivals(), min_size=1, max_size=12))
def test_no_input_drives_the_set_points_out_of_the_limits(events: list[tuple[int, int, ActionChunk]]) -> None:
    guard = latched()
    parts = play(guard, events)
    tail = guard.braking_tail()
    times_ns = np.concatenate([part.times_ns for part in [*parts, tail]])
    assert (np.diff(times_ns) == 10 * MS).all() and times_ns[0] == 10 * MS
    assert_within_limits(joined([*parts, tail]))
    assert guard.counters["accepted"] + sum(guard.counters[reason] for reason in refused(guard)) == len(events)


def refused(guard: Guard) -> list[str]:
    return [name for name in guard.counters if name in REASONS]


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(arrivals(), min_size=1, max_size=8))
def test_the_same_inputs_give_the_same_bits(events: list[tuple[int, int, ActionChunk]]) -> None:
    first, second = (joined(play(guard, events)) for guard in (latched(), latched()))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_a_policy_that_drives_every_joint_into_its_ends_stays_inside(seed: int) -> None:
    limits, random = SETTINGS.limits, np.random.default_rng(seed)
    guard, parts, end = latched(FREE), [], READY
    for tick in range(200):
        if random.random() < 0.05:
            end = np.where(random.random(8) < 0.5, limits.position_min - 0.009, limits.position_max + 0.009)
        guard.accept(still(tick * TICK_NS, position=end), tick * TICK_NS)
        parts.append(guard.advance((tick + 1) * TICK_NS))
    positions = joined(parts)
    assert_within_limits(positions)
    assert guard.counters["limited"] > 0
    room = limits.position_max - limits.position_min - 2 * SETTINGS.position_margin
    assert (np.ptp(positions, axis=0) > 0.99 * room).sum() >= 5  # the ends were really reached


# --- the judge itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda motion: motion[5:].__setitem__((..., 0), 0.05), "velocity"),
        (lambda motion: motion[5:].__setitem__((..., 0), 0.002), "acceleration"),
        (lambda motion: motion[5:].__setitem__((..., 0), 0.0007), "jerk"),
        (lambda motion: motion.__setitem__((..., 3), 0.0), "position above: fr3_joint4"),
        (lambda motion: motion.__setitem__((7, 2), np.nan), "not finite"),
    ],
)
def test_the_checker_finds_what_it_looks_for(spoil, complaint: str) -> None:  # type: ignore[no-untyped-def]
    motion = np.tile(READY, (20, 1))
    assert violations(motion, 0.01, JUDGED) == []
    spoil(motion)
    assert any(complaint in found for found in violations(motion, 0.01, JUDGED))


def test_the_checker_knows_that_velocity_limits_shrink_towards_the_ends() -> None:
    motion = np.tile(READY, (200, 1))
    motion[:, 1] = 1.75 - 0.01 * np.arange(199, -1, -1)  # 1 rad/s right up to the end: far below the cap of 2.62 rad/s
    assert any("velocity envelope: fr3_joint2" in found for found in violations(motion, 0.01, JUDGED))
