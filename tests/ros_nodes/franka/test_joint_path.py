"""The moving target between a chunk's steps."""

import numpy as np

from ros_nodes.franka.joint_path import JointPath

S = 1_000_000_000
PATH = JointPath([0, S, 3 * S], np.array([[0.0], [1.0], [2.0]]))


def test_between_two_knots_lies_a_straight_line() -> None:
    position, velocity = PATH.at(2 * S)
    assert position[0] == 1.5 and velocity[0] == 0.5


def test_at_a_knot_the_line_that_ends_there_counts() -> None:
    position, velocity = PATH.at(S)
    assert position[0] == 1.0 and velocity[0] == 1.0


def test_outside_of_the_knots_the_path_rests() -> None:
    assert [float(value[0]) for value in PATH.at(-S)] == [0.0, 0.0]
    assert [float(value[0]) for value in PATH.at(4 * S)] == [2.0, 0.0]
    assert PATH.end_ns == 3 * S
