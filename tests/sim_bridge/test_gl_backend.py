"""A machine without a way to draw."""

import os
import subprocess
import sys


def test_a_missing_renderer_is_named_with_its_mend_in_one_line() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "sim_bridge.check_experts", "--task", "reach_cued"],
        env={**os.environ, "MUJOCO_GL": "crayons"},
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = result.stderr.strip().splitlines()
    assert result.returncode != 0
    assert line.startswith("error: ") and "MUJOCO_GL=crayons" in line and "libegl1" in line
