"""Settings for every test: few threads, a headless renderer, hypothesis without surprises, and a ROS domain of one's own."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before numpy, torch and mujoco are imported: two cores are shared by the workers of pytest-xdist.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("MUJOCO_GL", "egl")

from hypothesis import HealthCheck, settings  # noqa: E402  the variables come first

from ros_nodes.environment import DOMAIN_IDS, graph_environment, prepare_process  # noqa: E402

# The same examples in every run, and no failure because a machine is slow.
settings.register_profile("project", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")


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
