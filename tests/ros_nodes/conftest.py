"""Fixtures for tests over real topics: a domain of one's own, a small bundle, and a robot that speaks ROS."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ros_nodes.environment import DOMAIN_IDS, graph_environment, prepare_process
from tests.synthetic_bundle import write_synthetic_bundle


@pytest.fixture
def domain_id() -> Iterator[int]:
    """A ROS domain that no other test run on this machine uses at the same time."""
    for candidate in DOMAIN_IDS[1:]:
        path = Path(tempfile.gettempdir()) / f"long_context_policy_test_domain_{candidate}"
        with path.open("w") as claim:
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            os.environ.pop("ROS_DOMAIN_ID", None)
            prepare_process()
            os.environ.update(graph_environment(candidate))
            yield candidate
            return
    pytest.fail("no ROS domain is free")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One camera, four ticks of memory; it answers with the newest joints."""
    return write_synthetic_bundle(tmp_path_factory.mktemp("bundle"))
