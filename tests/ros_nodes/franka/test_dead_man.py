"""The dead-man switch: held and heard, or the arm may not move."""

from ros_nodes.franka.dead_man import DeadMan

MS = 1_000_000


def test_a_switch_that_was_never_heard_is_not_held() -> None:
    assert "never heard" in DeadMan(200 * MS).complaint(0)


def test_only_a_held_and_fresh_switch_lets_the_arm_move() -> None:
    switch = DeadMan(200 * MS)
    switch.hear(True, 1000 * MS)
    assert switch.complaint(1200 * MS) == ""
    assert "silent for 0.20 s" in switch.complaint(1201 * MS)
    switch.hear(False, 1300 * MS)
    assert "released" in switch.complaint(1300 * MS)


def test_a_timeout_of_zero_asks_for_the_switch_at_every_moment() -> None:
    switch = DeadMan(0)
    switch.hear(True, 1000)
    assert switch.complaint(1000) == "" and switch.complaint(1001) != ""
