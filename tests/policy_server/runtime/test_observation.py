import numpy as np
import pytest

from policy_server.runtime.clock import NS_PER_S
from policy_server.runtime.errors import ObservationError, StaleInputError, StampError
from policy_server.runtime.observation import ObservationAssembler
from tests.synthetic_bundle import JOINTS, synthetic_spec

MS = 1_000_000
ZERO_ONE = list(np.linspace(0, 0.7, len(JOINTS)))


def image(value: int = 0, size: int = 96) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


def assembler(*cameras: str) -> ObservationAssembler:
    spec = synthetic_spec(cameras=[(name, 96, 96) for name in cameras or ("front",)])
    return ObservationAssembler(spec, camera_skew_ns=20 * MS, joint_skew_ns=20 * MS)


def test_an_observation_joins_frame_and_joints_of_one_stamp() -> None:
    parts = assembler()
    parts.add_image("front", 100 * MS, image(5))
    assert parts.pop() is None
    parts.add_joints(101 * MS, JOINTS, ZERO_ONE)
    observation = parts.pop()
    assert observation is not None
    assert observation.stamp_ns == 100 * MS
    assert observation.images["front"][0, 0, 0] == 5
    np.testing.assert_allclose(observation.state, ZERO_ONE, rtol=1e-6)
    assert parts.pop() is None


def test_joints_in_another_order_and_with_strangers_are_sorted_by_name() -> None:
    parts = assembler()
    parts.add_image("front", 0, image())
    parts.add_joints(0, ["stranger", *reversed(JOINTS)], [9.0, *reversed(ZERO_ONE)])
    observation = parts.pop()
    assert observation is not None
    np.testing.assert_allclose(observation.state, ZERO_ONE, rtol=1e-6)


def test_the_nearest_joint_state_is_taken() -> None:
    parts = assembler()
    for stamp_ms, value in ((90, 1.0), (99, 2.0), (112, 3.0)):
        parts.add_joints(stamp_ms * MS, JOINTS, [value] * len(JOINTS))
    parts.add_image("front", 100 * MS, image())
    observation = parts.pop()
    assert observation is not None and observation.state[0] == 2.0


def test_all_cameras_are_waited_for() -> None:
    parts = assembler("front", "wrist")
    parts.add_joints(0, JOINTS, ZERO_ONE)
    parts.add_image("front", 0, image(1))
    assert parts.pop() is None
    parts.add_image("wrist", 30 * MS, image(2))  # beyond the allowed skew
    assert parts.pop() is None
    parts.clear()
    parts.add_joints(0, JOINTS, ZERO_ONE)
    parts.add_image("front", 0, image(1))
    parts.add_image("wrist", 10 * MS, image(2))
    observation = parts.pop()
    assert observation is not None and observation.images["wrist"][0, 0, 0] == 2


@pytest.mark.parametrize("camera_hz", [10, 15, 20, 30, 60])
def test_a_faster_camera_is_thinned_to_the_policy_rate(camera_hz: int) -> None:
    parts = assembler()
    ticks = 0
    for frame in range(camera_hz * 10):
        stamp_ns = round(frame * 1e9 / camera_hz)
        parts.add_image("front", stamp_ns, image())
        parts.add_joints(stamp_ns, JOINTS, ZERO_ONE)
        ticks += parts.pop() is not None
    assert abs(ticks - 100) <= 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (image(size=64), "trained on uint8"),
        (image().astype(np.float32), "trained on uint8"),
        (image()[..., 0], "trained on uint8"),
    ],
)
def test_a_frame_of_another_size_or_type_is_refused(bad: np.ndarray, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        assembler().add_image("front", 0, bad)


def test_an_unknown_camera_is_refused_by_name() -> None:
    with pytest.raises(ObservationError, match="'side' is not one of the policy's: front"):
        assembler().add_image("side", 0, image())


def test_a_missing_joint_is_named() -> None:
    with pytest.raises(ObservationError, match="lacks fr3_joint1"):
        assembler().add_joints(0, JOINTS[1:], ZERO_ONE[1:])


def test_a_joint_that_is_not_a_number_is_named() -> None:
    with pytest.raises(ObservationError, match="nan for fr3_joint3"):
        assembler().add_joints(0, JOINTS, [0, 0, np.nan, 0, 0, 0, 0, 0])


def test_stamps_that_go_backwards_are_refused() -> None:
    parts = assembler()
    parts.add_image("front", 100 * MS, image())
    with pytest.raises(StampError, match="must not go backwards"):
        parts.add_image("front", 99 * MS, image())
    parts.add_joints(100 * MS, JOINTS, ZERO_ONE)
    with pytest.raises(StampError, match="joint_states"):
        parts.add_joints(99 * MS, JOINTS, ZERO_ONE)


def test_each_stale_input_is_named() -> None:
    parts = assembler("front", "wrist")
    parts.add_image("front", 0, image())
    parts.add_joints(900 * MS, JOINTS, ZERO_ONE)
    with pytest.raises(
        StaleInputError, match=r"camera 'front': nothing for 1\.00 s; camera 'wrist': nothing received yet"
    ):
        parts.check_fresh(1000 * MS, 500 * MS)


def test_a_tick_whose_second_camera_lost_its_frame_is_given_up_and_counted() -> None:
    parts = assembler("front", "wrist")
    for stamp_ms in (0, 100, 200):
        parts.add_joints(stamp_ms * MS, JOINTS, ZERO_ONE)
        parts.add_image("front", stamp_ms * MS, image(stamp_ms))
        if stamp_ms != 100:
            parts.add_image("wrist", stamp_ms * MS, image())
    stamps = [observation.stamp_ns for observation in iter(parts.pop, None)]
    assert stamps == [0, 200 * MS]
    assert parts.lost_ticks == 1


def test_ticks_go_on_after_half_a_second_without_joint_states() -> None:
    parts = assembler()
    for tick in range(20):
        stamp_ns = tick * 100 * MS
        if not 5 <= tick < 10:
            parts.add_joints(stamp_ns, JOINTS, ZERO_ONE)
        parts.add_image("front", stamp_ns, image())
    stamps = [observation.stamp_ns // (100 * MS) for observation in iter(parts.pop, None)]
    assert stamps == [*range(5), *range(10, 20)]
    assert parts.lost_ticks == 5


def test_a_partner_that_is_only_late_is_waited_for() -> None:
    parts = assembler("front", "wrist")
    parts.add_joints(0, JOINTS, ZERO_ONE)
    parts.add_image("front", 0, image())
    parts.add_image("front", 100 * MS, image())
    assert parts.pop() is None and parts.lost_ticks == 0
    parts.add_image("wrist", 0, image())
    observation = parts.pop()
    assert observation is not None and observation.stamp_ns == 0


def feature_assembler() -> ObservationAssembler:
    spec = synthetic_spec(cameras=(), features=("lamp_red", "goal_x_m"))
    return ObservationAssembler(spec, camera_skew_ns=0, joint_skew_ns=0)


def test_without_cameras_the_state_is_joints_then_features() -> None:
    parts = feature_assembler()
    parts.add_joints(
        100 * MS, ["goal_x_m", "stranger", *reversed(JOINTS), "lamp_red"], [0.5, 9.0, *reversed(ZERO_ONE), 1.0]
    )
    observation = parts.pop()
    assert observation is not None and observation.images == {} and observation.stamp_ns == 100 * MS
    assert observation.state.dtype == np.float32
    np.testing.assert_array_equal(observation.state, np.array([*ZERO_ONE, 1.0, 0.5], np.float32))
    assert parts.pop() is None


@pytest.mark.parametrize("joint_state_hz", [10, 100, 1000])
def test_without_cameras_the_joint_states_set_the_pace(joint_state_hz: int) -> None:
    parts = feature_assembler()
    names, ticks = (*JOINTS, "lamp_red", "goal_x_m"), 0
    for sample in range(10 * joint_state_hz):
        parts.add_joints(sample * NS_PER_S // joint_state_hz, names, [float(sample)] * len(names))
        observation = parts.pop()
        ticks += observation is not None
        assert observation is None or observation.state[0] == sample
    assert abs(ticks - 100) <= 1


def test_a_missing_feature_is_named() -> None:
    with pytest.raises(ObservationError, match="lacks lamp_red, goal_x_m"):
        feature_assembler().add_joints(0, JOINTS, ZERO_ONE)
