"""The arm as capsules: distances, what may touch what, and how far a joint can move a point."""

import numpy as np
import pytest

from ros_nodes.franka import arm_shape
from ros_nodes.franka.arm_shape import (
    BASE_PAIRS,
    BULGE,
    FINGERS,
    FOREARM,
    HAND,
    REACH_FROM_BASE_M,
    REACH_FROM_UPPER_ARM_M,
    REACH_M,
    REACH_UP_M,
    UPPER_ARM_PAIRS,
    Capsule,
    Pair,
    capsules,
    lowest_m,
    segment_distance_m,
    spheres,
)
from ros_nodes.franka.kinematics import arm_pose
from sim_bridge.fr3 import HOME_RAD, READY_RAD

LOW = np.array([-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159, 0.0])
HIGH = np.array([2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159, 0.04])


def clearance_m(shape: tuple[Capsule, ...], pairs: tuple[Pair, ...]) -> float:
    return arm_shape.clearance_m(shape, spheres(shape), pairs)


def test_the_distance_of_segments_is_the_smallest_of_all_their_points() -> None:
    random = np.random.default_rng(0)
    along = np.linspace(0.0, 1.0, 101)[:, None]
    for _ in range(100):
        a, b, c, d = random.normal(0.0, 1.0, (4, 3))
        points = a + along * (b - a)
        others = c + along * (d - c)
        sampled = np.linalg.norm(points[:, None] - others[None], axis=2).min()
        exact = segment_distance_m(tuple(a), tuple(b), tuple(c), tuple(d))
        assert sampled - 0.05 < exact <= sampled + 1e-12


def test_parallel_and_touching_segments_are_measured() -> None:
    assert segment_distance_m((0, 0, 0), (1, 0, 0), (0.2, 0.3, 0), (3, 0.3, 0)) == pytest.approx(0.3)
    assert segment_distance_m((0, 0, 0), (1, 0, 0), (0.5, -1, 0), (0.5, 1, 0)) == 0.0


@pytest.mark.parametrize("joints", [READY_RAD, HOME_RAD])
def test_the_usual_poses_are_clear_of_the_arm_and_of_the_table(joints: np.ndarray) -> None:
    shape = capsules(arm_pose(joints.tolist()), 0.04)
    assert min(clearance_m(shape, pairs) for pairs in (BASE_PAIRS, UPPER_ARM_PAIRS)) > 0.05
    assert lowest_m(shape) > 0.2


def test_a_hand_that_reaches_back_to_the_column_touches_it() -> None:
    folded = [0.0, -1.7, 0.0, -3.04, 0.0, 0.7, 0.785]
    assert clearance_m(capsules(arm_pose(folded), 0.0), BASE_PAIRS) < 0.0


def test_the_lowest_point_of_a_hand_that_points_down_is_its_fingertips() -> None:
    pose = arm_pose(READY_RAD.tolist())
    assert lowest_m(capsules(pose, 0.02)) == pytest.approx(pose.flange[2] - 0.1122, abs=1e-6)


@pytest.mark.parametrize(
    ("pairs", "reach_m"),
    [
        (BASE_PAIRS, REACH_FROM_BASE_M),
        (UPPER_ARM_PAIRS, REACH_FROM_UPPER_ARM_M),
        ((), REACH_UP_M),
    ],
    ids=["base", "upper-arm", "lowest"],
)
def test_no_joint_changes_a_clearance_faster_than_its_reach(
    pairs: tuple[Pair, ...], reach_m: tuple[float, ...]
) -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        start = random.uniform(LOW, HIGH)
        step = np.where(random.random(8) < 0.4, random.normal(0.0, 0.02, 8), 0.0) * [1, 1, 1, 1, 1, 1, 1, 0.05]
        before, after = (
            clearance_m(shape, pairs) if pairs else lowest_m(shape)
            for shape in (capsules(arm_pose(q.tolist()), q[7]) for q in (start, start + step))
        )
        assert abs(after - before) <= float(np.abs(step) @ np.array(reach_m)) + 1e-12


def test_no_joint_moves_the_tool_centre_point_faster_than_its_reach() -> None:
    random = np.random.default_rng(2)
    for _ in range(300):
        start = random.uniform(LOW, HIGH)
        step = random.normal(0.0, 0.02, 8) * [1, 1, 1, 1, 1, 1, 1, 0]
        moved_m = np.subtract(arm_pose((start + step).tolist()).tcp, arm_pose(start.tolist()).tcp)
        assert np.linalg.norm(moved_m) <= float(np.abs(step) @ np.array(REACH_M)) + 1e-12


def test_the_hand_comes_to_the_forearm_only_at_the_end_of_joint_6() -> None:
    together = tuple((part, other) for part in (FOREARM, BULGE) for other in (HAND, FINGERS))
    for angle in np.linspace(LOW[5] + 0.2, HIGH[5], 30):
        for turn in np.linspace(LOW[6], HIGH[6], 12):
            joints = [*READY_RAD[:5], angle, turn]
            assert clearance_m(capsules(arm_pose(joints), 0.04), together) > 0.01


def test_skipping_distant_pairs_changes_no_clearance() -> None:
    random = np.random.default_rng(4)
    for _ in range(200):
        joints = random.uniform(LOW, HIGH)
        shape = capsules(arm_pose(joints.tolist()), joints[7])
        all_of_them = min(
            segment_distance_m(shape[one][0], shape[one][1], shape[other][0], shape[other][1])
            - shape[one][2]
            - shape[other][2]
            for one, other in BASE_PAIRS
        )
        assert clearance_m(shape, BASE_PAIRS) == pytest.approx(all_of_them, abs=1e-12)
