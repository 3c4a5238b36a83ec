"""The wrench guard: sizes, not components; zero allows nothing; what is not a number is too much."""

import numpy as np
import pytest

from ros_nodes.franka.contact import ContactLimits, torque_contact, wrench_contact

LIMITS = ContactLimits(10.0, 2.0, np.full(7, 5.0))


@pytest.mark.parametrize(
    ("wrench", "reason"),
    [
        ([6.0, 0.0, 8.0, 0.0, 0.0, 0.0], None),
        ([6.0, 1.0, 8.0, 0.0, 0.0, 0.0], "external_force"),
        ([0.0, 0.0, 0.0, 0.0, -2.5, 0.0], "external_torque"),
        ([np.nan, 0.0, 0.0, 0.0, 0.0, 0.0], "external_force"),
    ],
)
def test_a_wrench_is_judged_by_its_size(wrench: list[float], reason: str | None) -> None:
    contact = wrench_contact(np.array(wrench), LIMITS)
    assert (contact.reason if contact else None) == reason


def test_a_limit_of_zero_stops_at_the_first_touch_and_not_before() -> None:
    none_allowed = ContactLimits(0.0, 0.0, np.zeros(7))
    assert wrench_contact(np.zeros(6), none_allowed) is None and torque_contact(np.zeros(7), none_allowed) is None
    touch = wrench_contact(np.array([0.0, 0.0, 0.01, 0.0, 0.0, 0.0]), none_allowed)
    assert touch is not None and touch.reason == "external_force"
    assert torque_contact(np.array([0, 0, 0, 0, 0, 0, -0.01]), none_allowed) is not None


def test_a_joint_that_bears_too_much_is_named() -> None:
    contact = torque_contact(np.array([0.0, 0.0, -6.0, 0.0, 0.0, 0.0, 0.0]), LIMITS)
    assert contact is not None and "joint 3 bears -6.0 Nm" in contact.message
