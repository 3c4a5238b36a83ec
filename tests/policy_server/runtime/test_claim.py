import signal
import subprocess
import sys
from pathlib import Path

import pytest

from policy_server.runtime.claim import FolderBusyError, claimed


def test_a_folder_is_worked_in_by_one_process_at_a_time(tmp_path: Path) -> None:
    with claimed(tmp_path / "out"), pytest.raises(FolderBusyError, match="in use"), claimed(tmp_path / "out"):
        pass
    with claimed(tmp_path / "out"):
        pass


def test_the_claim_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from policy_server.runtime.claim import claimed\n"
        "with claimed(Path(sys.argv[1])): print('claimed', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None and process.stdout.readline() == "claimed\n"
    with pytest.raises(FolderBusyError), claimed(tmp_path / "out"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with claimed(tmp_path / "out"):
        pass
