"""Messages carry arrays there and back unchanged, and say what is wrong with those that cannot be read."""

from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sensor_msgs.msg import Image, JointState

from policy_server.runtime.actions import ActionChunk
from policy_server.runtime.errors import ObservationError
from policy_server.runtime.history import Context
from ros_nodes import messages
from ros_nodes.errors import MessageError
from ros_nodes.messages import JointTargets

stamps_ns = st.integers(0, 2**31 * 10**9 - 1)
sizes = st.integers(1, 9)
images = st.tuples(sizes, sizes).flatmap(lambda size: arrays(np.uint8, (*size, 3)))
floats = st.floats(-10, 10, width=32)


@given(stamps_ns)
def test_a_stamp_survives_the_round_trip(stamp_ns: int) -> None:
    assert messages.stamp_to_ns(messages.ns_to_stamp(stamp_ns)) == stamp_ns


@given(images, stamps_ns)
def test_an_rgb_image_survives_the_round_trip(image: np.ndarray, stamp_ns: int) -> None:
    message = messages.rgb_to_image(image, stamp_ns, "front")
    assert messages.stamp_to_ns(message.header.stamp) == stamp_ns
    np.testing.assert_array_equal(messages.image_to_rgb(message, "front"), image)


@given(images, st.integers(0, 5))
def test_row_padding_is_left_out(image: np.ndarray, padding: int) -> None:
    height, width, _ = image.shape
    rows = np.pad(image.reshape(height, -1), ((0, 0), (0, padding)), constant_values=77)
    message = Image(height=height, width=width, encoding="rgb8", step=rows.shape[1], data=array("B", rows.tobytes()))
    np.testing.assert_array_equal(messages.image_to_rgb(message, "front"), image)


@given(images)
def test_bgr_and_mono_images_become_rgb(image: np.ndarray) -> None:
    height, width, _ = image.shape
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width, data=array("B", bgr.tobytes()))
    np.testing.assert_array_equal(messages.image_to_rgb(message, "front"), image)
    mono = np.ascontiguousarray(image[:, :, 0])
    message = Image(height=height, width=width, encoding="mono8", step=width, data=array("B", mono.tobytes()))
    np.testing.assert_array_equal(messages.image_to_rgb(message, "front"), np.stack([mono] * 3, axis=2))


def test_an_unknown_encoding_is_named_with_the_supported_ones() -> None:
    message = Image(height=1, width=1, encoding="yuv422", step=2, data=array("B", [0, 0]))
    with pytest.raises(ObservationError, match=r"camera 'wrist'.*'yuv422'.*rgb8, bgr8, mono8"):
        messages.image_to_rgb(message, "wrist")


@pytest.mark.parametrize(("step", "length"), [(12, 47), (11, 48)])
def test_an_incomplete_picture_is_refused(step: int, length: int) -> None:
    message = Image(height=4, width=4, encoding="rgb8", step=step, data=array("B", bytes(length)))
    with pytest.raises(ObservationError, match="incomplete"):
        messages.image_to_rgb(message, "front")


@given(st.tuples(sizes, sizes).flatmap(lambda size: arrays(np.float32, size, elements=floats)), stamps_ns)
def test_a_context_survives_the_round_trip(rows: np.ndarray, stamp_ns: int) -> None:
    context, bundle_hash = messages.image_to_context(messages.context_to_image(Context(stamp_ns, rows), "cafe"))
    assert (context.stamp_ns, bundle_hash) == (stamp_ns, "cafe")
    np.testing.assert_array_equal(context.rows, rows)


def test_a_camera_frame_is_not_mistaken_for_a_context() -> None:
    message = messages.rgb_to_image(np.zeros((2, 2, 3), np.uint8), 0, "front")
    with pytest.raises(ObservationError, match=r"'rgb8'.*32FC1"):
        messages.image_to_context(message)


@given(
    st.tuples(sizes, sizes).flatmap(lambda size: arrays(np.float32, size, elements=floats)),
    st.integers(0, 10**18),
    st.integers(1, 10**10),
)
def test_an_action_chunk_survives_the_round_trip(positions: np.ndarray, stamp_ns: int, period_ns: int) -> None:
    joints = tuple(f"joint{i}" for i in range(positions.shape[1]))
    chunk = messages.trajectory_to_chunk(
        messages.chunk_to_trajectory(ActionChunk(stamp_ns, period_ns, joints, positions))
    )
    assert (chunk.stamp_ns, chunk.period_ns, chunk.joints) == (stamp_ns, period_ns, joints)
    np.testing.assert_array_equal(chunk.positions, positions)


def test_velocities_of_set_points_survive_the_round_trip() -> None:
    times_ns = np.array([5, 9], np.int64)
    positions, velocities = np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([[1.0, 2.0], [0.0, 0.0]])
    targets = messages.trajectory_to_targets(
        messages.targets_to_trajectory(JointTargets(3, ("a", "b"), times_ns, positions, velocities))
    )
    np.testing.assert_array_equal(targets.times_ns, times_ns)
    np.testing.assert_array_equal(targets.positions, positions)
    np.testing.assert_array_equal(targets.velocities, velocities)


def test_unevenly_spaced_steps_are_no_action_chunk() -> None:
    times_ns = np.array([100, 200, 350], np.int64)
    message = messages.targets_to_trajectory(JointTargets(0, ("a",), times_ns, np.zeros((3, 1))))
    with pytest.raises(MessageError, match="one policy period apart"):
        messages.trajectory_to_chunk(message)


def test_a_point_with_too_few_positions_is_refused() -> None:
    message = messages.targets_to_trajectory(JointTargets(0, ("a", "b"), np.array([1], np.int64), np.zeros((1, 2))))
    message.joint_names = ["a", "b", "c"]
    with pytest.raises(MessageError, match="point 0 has 2 positions for 3 joints"):
        messages.trajectory_to_targets(message)


def test_times_that_do_not_rise_are_refused() -> None:
    message = messages.targets_to_trajectory(JointTargets(0, ("a",), np.array([2, 1], np.int64), np.zeros((2, 1))))
    with pytest.raises(MessageError, match="do not rise"):
        messages.trajectory_to_targets(message)


@given(st.permutations(["a", "b", "c"]))
def test_joints_are_ordered_by_name(order: list[str]) -> None:
    values = {"a": 1.0, "b": 2.0, "c": 3.0}
    message = JointState(name=order, position=[values[name] for name in order])
    np.testing.assert_array_equal(messages.joint_positions(message, ("c", "a")), [3.0, 1.0])


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (JointState(name=["a"], position=[1.0]), r"lacks b \(has a\)"),
        (JointState(name=["a", "b"], position=[1.0]), "2 names and 1 positions"),
        (JointState(name=["a", "b"], position=[1.0, float("nan")]), "nan for b"),
    ],
)
def test_joint_states_that_cannot_be_used_are_named(message: JointState, complaint: str) -> None:
    with pytest.raises(ObservationError, match=complaint):
        messages.joint_positions(message, ("a", "b"))
