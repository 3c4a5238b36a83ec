"""Fixtures of the backends' tests."""

import pytest

from sim_bridge.loopback.robot import LoopbackRobotError, franka_sim_python


@pytest.fixture(scope="session")
def loopback_installed() -> None:
    """Skips where the loopback robot or franky is not installed, and says how to get them."""
    try:
        franka_sim_python()
    except LoopbackRobotError as error:
        pytest.skip(str(error))
    pytest.importorskip("franky", reason="franky-control is not installed: pip install 'long_context_policy[robot]'")
