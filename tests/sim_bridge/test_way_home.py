"""The chunks that lead an arm to where episodes start."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_server.runtime.clock import NS_PER_S
from sim_bridge.fr3 import COMMAND_JOINTS, HOME_RAD
from sim_bridge.way_home import SPEED_RAD_S, WayHome

NOW_NS = 1_800_000_000 * NS_PER_S
HOME = np.append(HOME_RAD, 0.04)

offsets = st.lists(st.floats(-1.0, 1.0), min_size=8, max_size=8).map(
    lambda values: np.array(values) * [*[1.0] * 7, 0.02]
)


@given(offsets, st.integers(0, 10 * NS_PER_S))
def test_no_joint_is_led_faster_than_the_calm_speed(offset: np.ndarray, later_ns: int) -> None:
    chunk = WayHome(HOME + offset, HOME, NOW_NS).chunk(NOW_NS + later_ns)
    assert chunk.joints == COMMAND_JOINTS
    assert np.abs(np.diff(chunk.positions, axis=0)).max() <= SPEED_RAD_S * 0.1 + 1e-5


@given(offsets)
def test_the_way_ends_at_home_and_stays_there(offset: np.ndarray) -> None:
    way = WayHome(HOME + offset, HOME, NOW_NS)
    late = way.chunk(NOW_NS + 60 * NS_PER_S)
    np.testing.assert_allclose(late.positions, np.tile(HOME, (12, 1)), atol=1e-6)
    assert way.has_arrived(late.positions[0].astype(np.float64), NOW_NS + 60 * NS_PER_S)


@pytest.mark.parametrize("off", [np.array([0.1] * 7 + [0.0]), np.array([0.0] * 7 + [0.02])], ids=["arm", "finger"])
def test_an_arm_or_a_finger_elsewhere_has_not_arrived(off: np.ndarray) -> None:
    assert not WayHome(HOME, HOME, NOW_NS).has_arrived(HOME + off, NOW_NS + NS_PER_S)


def test_an_arm_that_only_passes_by_has_not_arrived() -> None:
    way = WayHome(HOME - 0.4, HOME, NOW_NS)
    assert not way.has_arrived(HOME, NOW_NS + NS_PER_S // 2)
    assert way.has_arrived(HOME, NOW_NS + 2 * NS_PER_S)
