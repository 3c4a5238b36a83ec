import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array

from policy_server.dataset.lerobot.layout import Feature, LeRobotError, LeRobotInfo, UnitError
from policy_server.dataset.lerobot.mapping import (
    FR3_PAIRS,
    Columns,
    JointOptions,
    Scale,
    check_units,
    choose_cameras,
    joint_columns,
    names_of,
    parse_joints,
    parse_scale,
)

FR3 = (*(f"fr3_joint{i}" for i in range(1, 8)), "fr3_finger_joint1")


def vector(*names: str, size: int = 0) -> Feature:
    return Feature("float32", (size or len(names),), names, False)


def info(**features: Feature) -> LeRobotInfo:
    return LeRobotInfo(10.0, 1, 1, "", "", {key.replace("__", "."): feature for key, feature in features.items()})


@pytest.mark.parametrize(
    "names",
    [
        FR3,
        (*(f"panda_joint{i}" for i in range(1, 8)), "panda_finger_joint1"),
        (*(f"joint_{i}.pos" for i in range(1, 8)), "gripper.pos"),
        ("gripper_position", *(f"joint{i}" for i in range(7, 0, -1)), "camera_tilt"),
    ],
)
def test_a_franka_arm_is_known_by_many_names(names: tuple[str, ...]) -> None:
    columns = joint_columns(names, JointOptions(parse_joints("fr3")), "state", all_needed=True)
    assert columns.names == FR3
    taken = columns.take(np.arange(len(names))[None])[0]
    digits = [[c for c in names[int(i)].removesuffix("1") if c.isdigit()][-1:] for i in taken[1:-1]]
    assert digits == [[str(i)] for i in range(2, 8)]
    assert "gripper" in names[int(taken[-1])] or "finger" in names[int(taken[-1])]


def test_an_arm_without_one_of_its_joints_is_refused() -> None:
    with pytest.raises(LeRobotError, match="no joint for 'fr3_finger_joint1'"):
        joint_columns([f"joint_{i}" for i in range(1, 8)], JointOptions(FR3_PAIRS), "state", all_needed=True)


def test_joints_are_chosen_renamed_and_put_in_order() -> None:
    columns = joint_columns(["a", "b.pos", "c"], JointOptions(parse_joints("c=third,b")), "state", all_needed=True)
    assert (columns.names, columns.sources) == (("third", "b"), (2, 1))


def test_the_action_may_move_fewer_joints_than_the_state_has() -> None:
    options = JointOptions(parse_joints("a,b"))
    assert joint_columns(["b"], options, "action", all_needed=False).names == ("b",)
    with pytest.raises(LeRobotError, match="the action has no joint for 'a'"):
        joint_columns(["x"], options, "action", all_needed=False)


def test_numbers_without_a_name_are_called_by_their_position_and_must_be_named() -> None:
    names = names_of(info(s=vector("x"), action=vector(size=2)), ("s", "action"))
    assert names == ["x", "1", "2"]
    with pytest.raises(LeRobotError, match="'1' of the state is no name of a joint"):
        joint_columns(names, JointOptions(), "state", all_needed=True)
    assert joint_columns(names, JointOptions(parse_joints("2=tip")), "state", all_needed=True).sources == (2,)


def test_two_numbers_of_one_name_are_refused() -> None:
    with pytest.raises(LeRobotError, match="several numbers of one name"):
        joint_columns(["a", "a.pos"], JointOptions(), "state", all_needed=True)


def test_a_vector_whose_names_do_not_fit_its_shape_is_refused() -> None:
    with pytest.raises(LeRobotError, match="3 numbers but 2 names"):
        names_of(info(action=Feature("float32", (3,), ("a", "b"), False)), ("action",))


@given(
    values=any_array(np.float32, (5, 3), elements=st.floats(-100, 100, width=32)),
    factor=st.floats(-2, 2),
    offset=st.floats(-1, 1),
)
def test_a_scale_is_linear_and_leaves_the_other_joints_bit_for_bit(
    values: np.ndarray, factor: float, offset: float
) -> None:
    options = JointOptions((), (("b", Scale(factor, offset)),))
    taken = joint_columns(["a", "b", "c"], options, "state", all_needed=True).take(values)
    np.testing.assert_array_equal(taken[:, [0, 2]], values[:, [0, 2]])
    np.testing.assert_array_equal(taken[:, 1], (values[:, 1].astype(np.float64) * factor + offset).astype(np.float32))


def test_degrees_are_converted_but_for_grippers() -> None:
    columns = joint_columns(["elbow", "gripper"], JointOptions(angle_unit="deg"), "state", all_needed=True)
    np.testing.assert_allclose(columns.take(np.array([[180.0, 0.03]])), [[math.pi, 0.03]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "number", "said"),
    [
        ("elbow", JointOptions(), 12.0, "joint 'elbow' reaches 12 rad, more than a turn"),
        ("elbow", JointOptions(angle_unit="deg"), 0.1, "in radians already"),
        ("gripper", JointOptions(), 0.9, "--scale gripper=FACTOR"),
        ("left_finger", JointOptions(), -0.5, "no finger position in m"),
    ],
)
def test_numbers_in_the_wrong_unit_are_refused(name: str, options: JointOptions, number: float, said: str) -> None:
    columns = joint_columns([name], options, "state", all_needed=True)
    with pytest.raises(UnitError, match=f"episode 3: .*{said}"):
        check_units(columns, np.array([[0.0], [number]], np.float32), options, "episode 3")


def test_a_scale_that_was_given_is_not_questioned() -> None:
    options = JointOptions((), (("gripper", Scale(1.0)),))
    columns = joint_columns(["gripper"], options, "state", all_needed=True)
    check_units(columns, np.array([[1.2]], np.float32), options, "episode 0")


def test_plausible_numbers_pass() -> None:
    columns = Columns(FR3, tuple(range(8)), (1.0,) * 8, (0.0,) * 8, (True,) * 8)
    check_units(columns, np.array([[-2.9, 1, 2, -3, 0, 3.7, 2.9, 0.04]], np.float32), JointOptions(), "episode 0")


@pytest.mark.parametrize(
    ("text", "scale"), [("a=0.04", Scale(0.04)), ("a=-0.04,0.04", Scale(-0.04, 0.04)), ("a=1e-2", Scale(0.01))]
)
def test_scales_are_read(text: str, scale: Scale) -> None:
    assert parse_scale(text) == ("a", scale)


@pytest.mark.parametrize("text", ["a", "a=", "a=x", "a=1,2,3"])
def test_a_scale_that_is_not_understood_is_named(text: str) -> None:
    with pytest.raises(LeRobotError, match=f"--scale '{text}' is not understood"):
        parse_scale(text)


@pytest.mark.parametrize("text", ["a=b c", "a=", "a=1"])
def test_a_joint_needs_a_name(text: str) -> None:
    with pytest.raises(LeRobotError, match="is no name"):
        parse_joints(text)


PICTURES = info(
    observation__images__top=Feature("video", (48, 64, 3), ("height", "width", "channels"), False),
    observation__image=Feature("image", (3, 24, 32), (), False),
    observation__images__depth=Feature("video", (48, 64, 3), ("height", "width", "channels"), True),
    observation__state=vector("a"),
)


def test_all_cameras_but_depth_are_taken_unless_some_are_named() -> None:
    chosen = choose_cameras(PICTURES, None)
    assert {(key, c.name, c.height, c.width) for key, c in chosen.items()} == {
        ("observation.images.top", "top", 48, 64),
        ("observation.image", "image", 24, 32),
    }
    assert choose_cameras(PICTURES, "") == {}


def test_a_camera_is_named_by_its_whole_key_too() -> None:
    chosen = choose_cameras(PICTURES, "observation.images.top=front@20x10")
    assert [(c.name, c.height, c.width) for c in chosen.values()] == [("front", 10, 20)]


def test_a_camera_whose_name_is_no_topic_needs_another() -> None:
    pictures = info(observation__images__cam_1=Feature("video", (8, 8, 3), (), False))
    spoilt = LeRobotInfo(
        10.0, 1, 1, "", "", {"observation.images.cam-1": pictures.features["observation.images.cam_1"]}
    )
    with pytest.raises(LeRobotError, match="--cameras cam-1=NAME"):
        choose_cameras(spoilt, None)
    assert choose_cameras(spoilt, "cam-1=cam")["observation.images.cam-1"].name == "cam"
