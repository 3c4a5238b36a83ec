"""A machine without a way to draw."""

import os
import subprocess
import sys


def test_a_missing_renderer_is_named_with_its_mend():
    result = subprocess.run(
        [sys.executable, "-c", "import sim_bridge.world"],
        env={**os.environ, "MUJOCO_GL": "crayons"},
        capture_output=True,
        text=True,
        check=False,
    )
    last_line = result.stderr.strip().splitlines()[-1]
    assert result.returncode != 0
    assert "NoOpenGLError" in last_line and "MUJOCO_GL=crayons" in last_line and "libegl1" in last_line
