"""Where the arm may be: box, table and itself, judged by MuJoCo's arm instead of ours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from policy_server.runtime.actions import ActionChunk
from ros_nodes.franka.guard import Guard
from ros_nodes.franka.keep_out import BOX, SELF_COLLISION, TABLE, KeepOut, Workspace
from ros_nodes.franka.motion_planner import MotionPlanner
from ros_nodes.franka.set_points import JointMotion
from ros_nodes.franka.settings import GuardSettings, load_guard_settings
from sim_bridge.fr3 import READY_RAD, fr3_spec
from sim_bridge.gl_backend import mujoco

ARM_YAML = Path(__file__).parents[3] / "config" / "arm.yaml"
SETTINGS = load_guard_settings(ARM_YAML)
READY = np.append(READY_RAD, 0.02)
TICK_NS = 100_000_000
TIGHT = Workspace((0.2, -0.3, 0.1), (0.6, 0.3, 0.7), table_height_m=0.05, table_clearance_m=0.02, self_clearance_m=0.02)


def settings_with(**changed: object) -> GuardSettings:
    return replace(SETTINGS, max_step=np.full(8, 10.0), workspace=replace(TIGHT, **changed))  # type: ignore[arg-type]


def drive(
    settings: GuardSettings, targets: list[NDArray[np.float64]], ticks: int = 8
) -> tuple[Guard, NDArray[np.float64]]:
    """Set-points, float64 (n, 8), of a guard that is led to each target for some ticks."""
    guard, parts, tick = Guard(settings), [], 0
    guard.latch(READY, 0)
    for target in targets:
        for _ in range(ticks):
            steps = np.tile(target, (8, 1)).astype(np.float32)
            guard.accept(ActionChunk(tick * TICK_NS, TICK_NS, guard.joints, steps), tick * TICK_NS)
            tick += 1
            parts.append(guard.advance(tick * TICK_NS).positions)
    return guard, np.concatenate(parts)


def points_of(positions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tool centre point (n, 3) and lowest fingertip (n,) by MuJoCo's arm."""
    model = fr3_spec().compile()
    data = mujoco.MjData(model)
    tcp, tips = [], []
    for joints in positions:
        data.qpos[:9] = [*joints, joints[7]]
        mujoco.mj_kinematics(model, data)
        tcp.append(data.site("tcp").xpos.copy())
        tips.append(min(data.geom(name).xpos[2] for name in ("fr3_leftpad", "fr3_rightpad")) - 0.0095)
    return np.array(tcp), np.array(tips)


def random_targets(seed: int, count: int = 4) -> list[NDArray[np.float64]]:
    limits, random = SETTINGS.limits, np.random.default_rng(seed)
    room = limits.position_max - limits.position_min
    return [limits.position_min + room * random.uniform(0.02, 0.98, 8) for _ in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_wherever_the_policy_leads_the_hand_stays_in_its_box_and_above_the_table(seed: int) -> None:
    guard, positions = drive(settings_with(), random_targets(seed))
    tcp, tips = points_of(positions)
    assert (tcp >= np.array(TIGHT.box_min_m) - 1e-3).all() and (tcp <= np.array(TIGHT.box_max_m) + 1e-3).all()
    assert (tips >= TIGHT.table_height_m).all()
    assert guard.counters[BOX] + guard.counters[TABLE] + guard.counters[SELF_COLLISION] > 0


def test_without_a_box_the_same_targets_lead_out_of_it() -> None:
    free = settings_with(
        box_min_m=(-9.0, -9.0, -9.0), box_max_m=(9.0, 9.0, 9.0), table_height_m=-9.0, self_clearance_m=-9.0
    )
    tcp, _ = points_of(drive(free, random_targets(0))[1])
    assert (tcp < np.array(TIGHT.box_min_m)).any() or (tcp > np.array(TIGHT.box_max_m)).any()


def test_a_hand_led_into_the_arm_stops_before_and_says_why() -> None:
    folded = READY.copy()
    folded[[1, 3, 5]] = -1.7, -3.0, 1.2
    wide = settings_with(box_min_m=(-1.0, -1.0, -1.0), box_max_m=(1.0, 1.0, 2.0), table_height_m=-1.0)
    guard, positions = drive(wide, [folded], ticks=20)
    judge = KeepOut(wide.workspace)
    assert min(judge.margins_m(each)[SELF_COLLISION] for each in positions) >= -1e-6
    assert judge.margins_m(folded)[SELF_COLLISION] < 0.0
    assert guard.kept_out == SELF_COLLISION and "into itself" in guard.complaint
    assert guard.state == "running" and guard.counters[SELF_COLLISION] > 0


def test_an_arm_that_begins_outside_may_come_in_but_not_go_further_out() -> None:
    outside = settings_with(box_min_m=(0.4, -0.3, 0.1))
    inwards, outwards = READY.copy(), READY.copy()
    inwards[[1, 3]] += 0.5, 0.4
    outwards[[1, 3]] -= 0.4, 0.4
    came_in, _ = points_of(drive(outside, [inwards], ticks=15)[1][-1:])
    assert came_in[0, 0] > 0.4
    stayed, _ = points_of(drive(outside, [outwards], ticks=15)[1])
    assert (stayed[:, 0] >= points_of(READY[None])[0][0, 0] - 1e-6).all()


def test_what_was_measured_before_changes_no_answer() -> None:
    random, workspace = np.random.default_rng(3), settings_with().workspace
    remembering = KeepOut(workspace)
    position = READY
    for _ in range(300):
        step = np.clip(
            position + random.normal(0.0, 0.02, 8), SETTINGS.limits.position_min, SETTINGS.limits.position_max
        )
        travel = np.abs(random.normal(0.0, 0.01, 8))
        stop = [step + travel / 2.0, step + travel]
        answers = [
            each.refusal(position, step, travel, lambda stop=stop: stop) for each in (remembering, KeepOut(workspace))
        ]
        assert answers[0] == answers[1]
        position = step if not answers[0] else position


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_between_its_sampled_poses_a_stop_that_was_allowed_stays_inside_too(share: float) -> None:
    wide = settings_with(
        box_min_m=(-0.4, -0.5, 0.0), box_max_m=(0.7, 0.5, 1.0), table_height_m=-0.1, self_clearance_m=0.0
    )
    planner, judge, random = MotionPlanner(wide), KeepOut(wide.workspace), np.random.default_rng(5)
    limits, allowed, refused = wide.limits, 0, 0
    room = limits.position_max - limits.position_min
    while allowed < 60:
        start = limits.position_min + room * random.uniform(0.2, 0.8, 8)
        velocity = share * random.uniform(-2.0, 2.0, 8) * [1, 1, 1, 1, 1, 1, 1, 0.02]
        if min(judge.margins_m(start).values()) < 0.0:
            continue
        motion = JointMotion(start, velocity, np.zeros(8))
        if KeepOut(wide.workspace).refusal(start, start, np.full(8, 9.0), lambda motion=motion: planner.stop(motion)):
            refused += 1
            continue
        allowed += 1
        way, _, _ = planner.stop_every(motion, 0.01)
        assert min(min(judge.margins_m(each).values()) for each in way) > -1e-3
    assert refused or share < 0.5
